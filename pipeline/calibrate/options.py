"""Options of `ris-mvdr calibrate`."""

from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from models.checked import AtLeast1, InsideUnit, Positive, checked, stage_options
from models.physics.installation import InstallationFile
from pipeline.common.weights import WeightsOptions

FalseAlarmRate = Annotated[float, Interval(gt=0, lt=0.5)]


@checked(frozen=True)
class FitConfig:
    """When to locate, when to stop."""

    first_scenes: AtLeast1 = 96
    """With more scenes than twice these, the search begins on so many, spread over all."""
    locating_passes: AtLeast1 = 3
    """First passes that locate every scene anew; later ones do where the search would stop."""
    max_passes: AtLeast1 = 20
    """At most, for each of the two sets."""
    tolerance: Positive = 0.2
    """Log-likelihood a held-out scene must gain for another pass."""


@checked(frozen=True)
class DeadConfig:
    """The test of each element."""

    false_alarm_rate: FalseAlarmRate = 1e-3
    """Probability that a live element is declared dead, at most."""
    least_amplitude: InsideUnit = 0.2
    """Amplitude from which on an element is alive, as a share of the median."""


@checked(frozen=True)
class ChannelConfig:
    """How long a channel's correction is sought."""

    passes: AtLeast1 = 8
    """Steps at most, one pass over the scenes each."""
    tolerance: Positive = 0.2
    """Log-likelihood a scene must gain for another."""


@checked(frozen=True)
class Settings:
    """How g and a channel's correction are fitted and the elements tested."""

    fit: FitConfig = FitConfig()
    dead: DeadConfig = DeadConfig()
    channel: ChannelConfig = ChannelConfig()


@checked(frozen=True)
class DriftConfig:
    """The test of a stored calibration."""

    false_alarm_rate: FalseAlarmRate = 0.01
    """Probability that it says drifted where nothing has."""
    draws: AtLeast1 = 4000
    """Of the law without drift."""
    seed: int = 0
    """Of the draws."""

    def __post_init__(self) -> None:
        if not 1.0 / self.draws < self.false_alarm_rate:
            raise ValueError(
                f"false_alarm_rate: expected more than 1 / draws = {1 / self.draws:g}, got {self.false_alarm_rate!r}"
            )


@stage_options(frozen=True)
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
    forget: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """With --update: what one new scene leaves of the weight of all earlier ones; 0.99 remembers the last hundred."""
    anchors: Path | None = None
    """Known places of sources in some scenes, JSON: [{"scene": 3, "position_m": [[x, y, z]]}, ...]."""
    channel: bool = False
    """Also correct the channel, which must be the same in all scenes."""
    installation: InstallationFile | None = None
    """Installation file, docs/installation.md; left out, the default installation."""
    config: str | None = None
    """Scene config whose installation it is, such as l64_m64_hall, in place of --installation."""
    settings: Settings = Settings()
    drift: DriftConfig = DriftConfig()

    def __post_init__(self) -> None:
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
        if self.forget < 1 and self.update is None:
            raise ValueError(f"--forget: needs --update, got {self.forget} without it")
