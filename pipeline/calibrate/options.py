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
    """Settings of the fit of the element gains."""

    first_scenes: AtLeast1 = 96
    """Number of scenes, evenly spread, that the fit starts with if there are at least twice as many."""
    locating_passes: AtLeast1 = 3
    """First passes, which locate the sources from scratch. Later passes do so only before the fit stops."""
    max_passes: AtLeast1 = 20
    """Largest number of passes, for the first scenes and for all scenes each."""
    tolerance: Positive = 0.2
    """Smallest rise of the log-likelihood per held-out scene for another pass."""


@checked(frozen=True)
class DeadConfig:
    """Test for dead elements."""

    false_alarm_rate: FalseAlarmRate = 1e-3
    """Largest probability that a working element is declared dead."""
    least_amplitude: InsideUnit = 0.2
    """Smallest amplitude of a working element, as a fraction of the median."""


@checked(frozen=True)
class ChannelConfig:
    """Settings of the channel correction."""

    passes: AtLeast1 = 8
    """Largest number of steps. Each is one pass over the scenes."""
    tolerance: Positive = 0.2
    """Smallest rise of the log-likelihood per scene for another step."""


@checked(frozen=True)
class Settings:
    """Settings of the fit, of the test for dead elements and of the channel correction."""

    fit: FitConfig = FitConfig()
    dead: DeadConfig = DeadConfig()
    channel: ChannelConfig = ChannelConfig()


@checked(frozen=True)
class DriftConfig:
    """Test of a stored calibration."""

    false_alarm_rate: FalseAlarmRate = 0.01
    """Probability that the test reports drift if there is none."""
    draws: AtLeast1 = 4000
    """Number of samples of the distribution without drift."""
    seed: int = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        if not 1.0 / self.draws < self.false_alarm_rate:
            raise ValueError(
                f"false_alarm_rate: expected more than 1 / draws = {1 / self.draws:g}, got {self.false_alarm_rate!r}"
            )


@stage_options(frozen=True)
class CalibrateOptions(WeightsOptions):
    """Estimates the element gains of a surface from unlabelled scenes and writes them to a calibration file.

    With --check it writes only a log. The exit status is 0 if a stored calibration fits the scenes, 1 if the surface
    has drifted, and 2 if no statement is possible.
    """

    input: tuple[Path, ...]
    """Measurement files, .npz, of one installation."""
    output: Path | None = None
    """Calibration file to write, .npz, with a plot NAME.png and logs/. If interrupted, the same command resumes."""
    check: Path | None = None
    """Calibration file to test against the scenes, instead of --output."""
    update: Path | None = None
    """Calibration file to which the scenes are added. --output may name the same file."""
    forget: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """With --update: factor of the weight of earlier scenes per new scene. 0.99 remembers the last hundred."""
    anchors: Path | None = None
    """Known source positions in some scenes, JSON: [{"scene": 3, "position_m": [[x, y, z]]}, ...]."""
    channel: bool = False
    """Also corrects the channel, which must be the same in all scenes."""
    installation: InstallationFile | None = None
    """Installation file, docs/installation.md. Default: the default installation."""
    config: str | None = None
    """Data set whose installation is used, such as l64_m64_hall, instead of --installation."""
    settings: Settings = Settings()
    drift: DriftConfig = DriftConfig()

    def __post_init__(self) -> None:
        if (self.output is None) == (self.check is None):
            raise ValueError(
                "options: expected one of --output and --check, got " + ("both" if self.output else "none")
            )
        if self.check is not None and (self.update or self.anchors or self.channel):
            raise ValueError("--check: expected no --update, --anchors or --channel, got one of them")
        if self.update is not None and self.channel:
            raise ValueError("--channel: expected no --update, which keeps the existing correction, got both")
        if self.installation is not None and self.config is not None:
            raise ValueError("--config: expected no --installation, got both")
        if self.forget < 1 and self.update is None:
            raise ValueError(f"--forget: needs --update, got {self.forget} without it")
