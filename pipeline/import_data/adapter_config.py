"""What a map of an adapter says, docs/import_sionna.md and docs/import_deepmimo.md; light, as config.py."""

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
    """How snapshots are drawn from channels that an adapter read."""

    snapshots: AtLeast1 = 64
    """L, one code a snapshot."""
    snr_db: Limits = (-5.0, 20.0)
    """Limits of the uniform draw of each scene's SNR, dB."""
    codebook: Codebook = "dft"
    """As in the simulator: "dft", the same in all scenes, or "random"."""
    phase_bits: Annotated[int, Interval(ge=1, le=8)] = 3
    symbols: Symbols = "gaussian"
    seed: AtLeast0 = 0


@checked(frozen=True)
class SionnaLink:
    """Coefficients between the surface and the other end, in a .npz, HDF5 or MATLAB file."""

    file: FileIn
    ris: Literal["tx", "rx"]
    """Which end the surface is."""
    a: str | None = None
    """Array of complex coefficients, or of real and imaginary parts along a first axis of two."""
    real: str | None = None
    imag: str | None = None
    """Arrays of the two parts, in place of `a`."""
    tau: str | None = None
    """Array of delays, s; needed for passband coefficients."""
    surface: int = 0
    """Number of the surface among the devices of its end, whose antennas are the elements."""

    def __post_init__(self) -> None:
        given = [name for name in ("a", "real", "imag") if getattr(self, name) is not None]
        if given not in (["a"], ["real", "imag"]):
            raise ValueError(f"a: expected one of a, real and imag, got {' and '.join(given) or 'none'}")


@checked(frozen=True)
class SionnaChannel(SionnaLink):
    """Coefficients between surface and base station."""

    station: int = 0
    """Number of the base station among the devices of its end."""


@checked(frozen=True)
class SionnaMap:
    """Coefficients of Sionna RT."""

    channel: SionnaChannel
    sources: SionnaLink
    """Every device of the other end is a source, with one antenna."""
    coefficients: Literal["baseband", "passband"] = "baseband"
    """Those of `Paths.cir`, or `Paths.a`, which lack exp(-2j pi f tau)."""
    frequency_hz: float | None = None
    """f, needed for passband coefficients."""
    element_order: Literal["sionna", "row"] = "sionna"
    """Of the surface's antennas: PlanarArray's columns from top to bottom, or the installation's rows."""
    scenes: Scenes | None = None
    """Numbers of the sources in each scene; left out, one scene with all."""

    def __post_init__(self) -> None:
        if self.coefficients == "passband":
            if self.frequency_hz is None or not self.frequency_hz > 0:
                raise ValueError(f"frequency_hz: expected above 0 for passband coefficients, got {self.frequency_hz}")
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
    """Which end the surface is."""
    surface: int
    """Number of the surface's point in the set of its end."""


@checked(frozen=True)
class DeepMIMOChannel(DeepMIMOLink):
    """Paths between surface and base station."""

    station: int
    """Number of the base station's point in the set of its end."""


@checked(frozen=True)
class DeepMIMOMap:
    """A scenario folder of DeepMIMO v4."""

    folder: FileIn
    channel: DeepMIMOChannel
    sources: DeepMIMOLink
    scenes: Annotated[Scenes, MinLen(1)]
    """Points of the other end that are the sources of each scene."""
    ris_facing_deg: tuple[float, float] = (0.0, 0.0)
    """Azimuth and elevation of the surface's boresight in the scenario."""
    station_facing_deg: tuple[float, float] = (0.0, 0.0)
    """The same of the base station's array."""
    station_rows: int = 1
    """Of the base station's array, half a wavelength apart; the installation's antennas in as many rows."""
    wavefront: Literal["spherical", "plane"] = "spherical"
    """How a path meets the surface: as from the point c tau away in its direction, or as from infinity."""
    phase: Literal["whole", "without_delay"] | None = None
    """Whether the phases hold that of the delay, -2 pi f tau; left out, by the ray tracer."""


@checked(frozen=True)
class SionnaImport:
    """A map with a table [sionna]."""

    sionna: SionnaMap
    simulate: Simulation = Simulation()


@checked(frozen=True)
class DeepMIMOImport:
    """A map with a table [deepmimo]."""

    deepmimo: DeepMIMOMap
    simulate: Simulation = Simulation()
