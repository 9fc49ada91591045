"""Options of `ris-mvdr calibrate`."""

import dataclasses
from pathlib import Path

from pipeline.common.weights import WeightsOptions


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """When to locate, when to stop."""

    first_scenes: int = 96
    """With more scenes than twice these, the search begins on so many, spread over all."""
    locating_passes: int = 3
    """First passes that locate every scene anew; later ones do where the search would stop."""
    max_passes: int = 20
    """At most, for each of the two sets."""
    tolerance: float = 0.2
    """Log-likelihood a held-out scene must gain for another pass."""

    def __post_init__(self) -> None:
        for field in ("first_scenes", "locating_passes", "max_passes"):
            if getattr(self, field) < 1:
                raise ValueError(f"FitConfig.{field}: expected at least 1, got {getattr(self, field)!r}")
        if not self.tolerance > 0:
            raise ValueError(f"FitConfig.tolerance: expected a positive number, got {self.tolerance!r}")


@dataclasses.dataclass(frozen=True)
class DeadConfig:
    """The test of each element."""

    false_alarm_rate: float = 1e-3
    """Probability that a live element is declared dead, at most."""
    least_amplitude: float = 0.2
    """Amplitude from which on an element is alive, as a share of the median."""

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm_rate < 0.5:
            raise ValueError(f"DeadConfig.false_alarm_rate: expected 0 to 0.5, got {self.false_alarm_rate!r}")
        if not 0 < self.least_amplitude < 1:
            raise ValueError(f"DeadConfig.least_amplitude: expected 0 to 1, got {self.least_amplitude!r}")


@dataclasses.dataclass(frozen=True)
class ChannelConfig:
    """How long a channel's correction is sought."""

    passes: int = 8
    """Steps at most, one pass over the scenes each."""
    tolerance: float = 0.2
    """Log-likelihood a scene must gain for another."""

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"ChannelConfig.passes: expected at least 1, got {self.passes!r}")
        if not self.tolerance > 0:
            raise ValueError(f"ChannelConfig.tolerance: expected a positive number, got {self.tolerance!r}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How g and a channel's correction are fitted and the elements tested."""

    fit: FitConfig = FitConfig()
    dead: DeadConfig = DeadConfig()
    channel: ChannelConfig = ChannelConfig()


@dataclasses.dataclass(frozen=True)
class DriftConfig:
    """The test of a stored calibration."""

    false_alarm_rate: float = 0.01
    """Probability that it says drifted where nothing has."""
    draws: int = 4000
    """Of the law without drift."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        if not 1.0 / self.draws < self.false_alarm_rate < 0.5:
            raise ValueError(
                f"DriftConfig.false_alarm_rate: expected 1 / draws = {1 / self.draws:g} to 0.5, "
                f"got {self.false_alarm_rate!r}"
            )


@dataclasses.dataclass(frozen=True)
class CalibrateOptions(WeightsOptions):
    """Learns the element response of a surface from unlabelled scenes and writes it to a file that others apply.

    With --check nothing is written but a log: the exit status says whether a stored calibration holds for the scenes
    (0), they have drifted away from it (1), or that can't be said (2).
    """

    input: tuple[Path, ...]
    """Measurement files, .npz, of one installation."""
    output: Path | None = None
    """Calibration file, .npz; a plot NAME.png and logs/ go beside it. Run again after a kill, the search goes on."""
    check: Path | None = None
    """Calibration file whose validity the scenes are to tell; in place of --output."""
    update: Path | None = None
    """Calibration file that the scenes are folded into; the result goes to --output, which may be the same."""
    forget: float = 1.0
    """With --update: what one new scene leaves of the weight of all earlier ones; 0.99 remembers the last hundred."""
    anchors: Path | None = None
    """Known places of sources in some scenes, JSON: [{"scene": 3, "position_m": [[x, y, z]]}, ...]."""
    channel: bool = False
    """Also correct the channel, which must be the same in all scenes."""
    installation: Path | None = None
    """Installation file, docs/installation.md; left out, the default installation."""
    config: str | None = None
    """Scene config whose installation it is, such as l64_m64_hall, in place of --installation."""
    settings: Settings = Settings()
    drift: DriftConfig = DriftConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.output is None) == (self.check is None):
            raise ValueError(
                "options: expected one of --output and --check, got " + ("both" if self.output else "none")
            )
        if self.check is not None and (self.update or self.anchors or self.channel):
            raise ValueError("--check: expected without --update, --anchors and --channel, got one of them")
        if self.update is not None and self.channel:
            raise ValueError("--channel: expected without --update, which keeps the correction there is, got both")
        if self.installation is not None and self.config is not None:
            raise ValueError("--config: expected without --installation, got both")
        if not 0 < self.forget <= 1:
            raise ValueError(f"--forget: expected above 0, at most 1, got {self.forget}")
        if self.forget < 1 and self.update is None:
            raise ValueError(f"--forget: needs --update, got {self.forget} without it")
