"""`python -m pipeline.checks.tradeoff`: F1 against ms a scene, trained and untrained, whole path and MVDR alone."""

import dataclasses
import logging
from pathlib import Path

from models.multipath.config import MultipathConfig
from pipeline.common.main import run_stage
from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class TradeoffOptions:
    """Measures accuracy against time."""

    backbone: Path
    """A trained backbone.keras; it is compared with the untrained one of its shape."""
    output_dir: Path
    """Where tradeoff.json, tradeoff.png and config.json go."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: str = "l64_m64"
    """Set of scenes."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 500
    """Test scenes, the first ones."""
    batch_size: int = 50
    """Scenes a call."""

    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which all settings look for; --multipath.rounds 0: none does."""

    def __post_init__(self) -> None:
        apply_installation(self)
        for field in ("scenes", "batch_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')}: expected 1 or more, got {getattr(self, field)}")


def work(options: TradeoffOptions, logger: logging.Logger) -> None:
    """Measures, writes and draws."""
    from pipeline.evaluation.time_accuracy import tradeoff

    tradeoff(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("tradeoff", TradeoffOptions, work, lambda options: options.output_dir / "logs")


if __name__ == "__main__":
    main()
