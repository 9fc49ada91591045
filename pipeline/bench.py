"""`python -m pipeline.bench`: time a scene: of the localizer, its parts, a training step, simulation, sequential ML."""

import dataclasses
import logging
import os
from pathlib import Path

from models.multipath.config import MultipathConfig
from pipeline.common.main import run_stage
from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """Times the localizer and what it is compared with."""

    backbone: Path | None = None
    """A backbone.keras of `pipeline.train`; left out, the untrained backbone."""
    config: str = "l64_m64"
    """What scenes are drawn from."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 32
    """Scenes, and the largest batch."""
    repeats: int = 5
    """Times each is run after a warm-up; the fastest counts."""
    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which the localizer looks for; --multipath.rounds 0 leaves out what that takes."""
    output: Path | None = None
    """Where the figures go as JSON."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""

    def __post_init__(self) -> None:
        apply_installation(self)
        for field in ("scenes", "repeats"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field}: expected 1 or more, got {getattr(self, field)}")


def work(options: BenchOptions, logger: logging.Logger) -> None:
    """Times everything."""
    from pipeline.common.records import write_json
    from pipeline.evaluation.timing import bench, table

    found = bench(options)
    for line in table(found, options):
        logger.info(line)
    if options.output is not None:
        told = {name: getattr(options, name) for name in ("config", "scenes", "repeats", "multipath")}
        write_json(options.output, {"options": told, "cores": os.cpu_count(), "ms_a_scene": found})


def main() -> None:
    """Command line entry point."""
    run_stage("bench", BenchOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
