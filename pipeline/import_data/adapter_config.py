"""Contents of a map for Sionna RT or DeepMIMO, docs/import_sionna.md and docs/import_deepmimo.md."""

from typing import Annotated, Literal

import pydantic
from annotated_types import Interval, MinLen

from models.checked import AtLeast0, AtLeast1, FileIn, Limits, checked
from tfds_shards.codebook import Codebook
from tfds_shards.sources import Symbols


def _all_other(scenes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    for members in scenes:
        if not members or len(set(members)) < len(members) or min(members) < 0:
            raise ValueError(f"expected lists of different numbers from 0 on, got {list(members)}")
    return scenes


Scenes = Annotated[tuple[tuple[int, ...], ...], pydantic.AfterValidator(_all_other)]


@checked(frozen=True)
class Simulation:
    """Settings of the snapshots that are drawn from imported channels."""

    snapshots: AtLeast1 = 64
    """Number of snapshots L, with one code each."""
    snr_db: Limits = (-5.0, 20.0)
    """Limits of the SNR of a scene, in dB; it is drawn uniformly."""
    codebook: Codebook = "dft"
    """Codebook of the simulator: "dft", the same in all scenes, or "random"."""
    phase_bits: Annotated[int, Interval(ge=1, le=8)] = 3
    symbols: Symbols = "gaussian"
    seed: AtLeast0 = 0


@checked(frozen=True)
class SionnaLink:
    """Coefficients between the surface and the other end, from a .npz, HDF5 or MATLAB file."""

    file: FileIn
    ris: Literal["tx", "rx"]
    """End of the paths at which the surface is."""
    a: str | None = None
    """Array of coefficients, complex or with real and imaginary parts along a first axis of size 2."""
    real: str | None = None
    imag: str | None = None
    """Arrays of the two parts, instead of `a`."""
    tau: str | None = None
    """Array of delays, in seconds. Required for passband coefficients."""
    surface: int = 0
    """Number of the surface among the devices of its end. Its antennas are the elements."""

    def __post_init__(self) -> None:
        given = [name for name in ("a", "real", "imag") if getattr(self, name) is not None]
        if given not in (["a"], ["real", "imag"]):
            raise ValueError(f"a: expected one of a, real and imag, got {' and '.join(given) or 'none'}")


@checked(frozen=True)
class SionnaChannel(SionnaLink):
    """Coefficients between the surface and the base station."""

    station: int = 0
    """Number of the base station among the devices of its end."""


@checked(frozen=True)
class SionnaMap:
    """Coefficients of Sionna RT."""

    channel: SionnaChannel
    sources: SionnaLink
    """Coefficients of the sources: all devices of the other end, with one antenna each."""
    coefficients: Literal["baseband", "passband"] = "baseband"
    """Coefficients of `Paths.cir` (baseband), or of `Paths.a` (passband), which lacks exp(-2j pi f tau)."""
    frequency_hz: float | None = None
    """Frequency f, in Hz. Required for passband coefficients."""
    element_order: Literal["sionna", "row"] = "sionna"
    """Order of the surface's antennas: columns from top to bottom (PlanarArray), or rows (installation)."""
    scenes: Scenes | None = None
    """Numbers of the sources in each scene. Default: one scene with all sources."""

    def __post_init__(self) -> None:
        if self.coefficients == "passband":
            if self.frequency_hz is None or not self.frequency_hz > 0:
                raise ValueError(f"frequency_hz: expected > 0 for passband coefficients, got {self.frequency_hz}")
            for name in ("channel", "sources"):
                if getattr(self, name).tau is None:
                    raise ValueError(f"{name}.tau: expected an array's name for passband coefficients, got none")
        elif self.frequency_hz is not None or self.channel.tau is not None or self.sources.tau is not None:
            raise ValueError('coefficients: expected "passband" with frequency_hz and tau, got "baseband"')


@checked(frozen=True)
class DeepMIMOLink:
    """Paths between the surface and the other end."""

    tx_set: int
    rx_set: int
    ris: Literal["tx", "rx"]
    """End of the paths at which the surface is."""
    surface: int
    """Number of the surface's point in the set of its end."""


@checked(frozen=True)
class DeepMIMOChannel(DeepMIMOLink):
    """Paths between the surface and the base station."""

    station: int
    """Number of the base station's point in the set of its end."""


@checked(frozen=True)
class DeepMIMOMap:
    """Scenario folder of DeepMIMO v4."""

    folder: FileIn
    channel: DeepMIMOChannel
    sources: DeepMIMOLink
    scenes: Annotated[Scenes, MinLen(1)]
    """Points of the other end that are the sources of each scene."""
    ris_facing_deg: tuple[float, float] = (0.0, 0.0)
    """Azimuth and elevation of the surface's boresight in the scenario, in degrees."""
    station_facing_deg: tuple[float, float] = (0.0, 0.0)
    """Azimuth and elevation of the boresight of the base station's array, in degrees."""
    station_rows: int = 1
    """Rows of the base station's array. Its antennas are those of the installation, half a wavelength apart."""
    wavefront: Literal["spherical", "plane"] = "spherical"
    """Wavefront of a path at the surface: spherical around the point at distance c tau in its direction, or plane."""
    phase: Literal["whole", "without_delay"] | None = None
    """Whether the phases include that of the delay, -2 pi f tau. Default: depends on the ray tracer."""


@checked(frozen=True)
class SionnaImport:
    """Map with a table [sionna]."""

    sionna: SionnaMap
    simulate: Simulation = Simulation()


@checked(frozen=True)
class DeepMIMOImport:
    """Map with a table [deepmimo]."""

    deepmimo: DeepMIMOMap
    simulate: Simulation = Simulation()
