"""`python -m pipeline.calibrate`: learns what an installation does otherwise than told; docs/calibrate.md."""

import dataclasses
import logging
from pathlib import Path

from models.weights import PRETRAINED
from pipeline.calibration.config import DriftConfig, Settings
from pipeline.common.main import run_stage


@dataclasses.dataclass(frozen=True)
class CalibrateOptions:
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
    backbone: Path = PRETRAINED
    """Weights of the localizer."""
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
        if not 0 < self.forget <= 1:
            raise ValueError(f"--forget: expected above 0, at most 1, got {self.forget}")
        if self.forget < 1 and self.update is None:
            raise ValueError(f"--forget: needs --update, got {self.forget} without it")


def work(options: CalibrateOptions, logger: logging.Logger) -> int | None:
    """Calibrates, or checks a calibration."""
    from pipeline.calibration.running import run_calibration, run_check

    if options.check is not None:
        return run_check(options, logger)
    run_calibration(options, logger)
    return None


def _log_dir(options: CalibrateOptions) -> Path:
    beside = options.output or options.check
    assert beside is not None
    return beside.parent / "logs"


def main() -> None:
    """Command line entry point."""
    run_stage("calibrate", CalibrateOptions, work, _log_dir)


if __name__ == "__main__":
    main()
