"""`python -m pipeline.doctor`: is everything there that the stages need? A line a check."""

import dataclasses
import logging
from pathlib import Path

from models.weights import PRETRAINED
from pipeline.common.main import FAIL, run_stage


@dataclasses.dataclass(frozen=True)
class DoctorOptions:
    """Looks at the environment; ends with status 0 where all is well, 1 where a check fails."""

    runs: Path = Path("runs")
    """Where runs go: there must be space, and it must be writable."""
    free_gb: float = 5.0
    """Space asked for there; 112,000 scenes take 3.5 GB."""
    weights: Path = PRETRAINED
    """A backbone.keras that must be whole."""
    target: str | None = None
    """HOST:PORT of a model server that must answer."""
    model_name: str = "ris_localizer"
    """The model it must serve."""


def work(options: DoctorOptions, logger: logging.Logger) -> int | None:
    """Says a line a check."""
    from pipeline.common.checkup import checks

    found = list(checks(options))
    for check in found:
        logger.info(f"{'ok  ' if check.holds else 'FAIL'}  {check.name}: {check.said}")
    failed = sum(not check.holds for check in found)
    logger.info(f"{len(found) - failed} of {len(found)} checks hold")
    return FAIL if failed else None


def main() -> None:
    """Command line entry point."""
    run_stage("doctor", DoctorOptions, work, lambda options: options.runs / "logs")


if __name__ == "__main__":
    main()
