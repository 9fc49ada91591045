"""Command line of `ris-mvdr bench`."""

import logging
import os

from pipeline.bench.options import BenchOptions
from pipeline.common.main import run_stage


def work(options: BenchOptions, logger: logging.Logger) -> None:
    """Runs the measurement."""
    from pipeline.bench.timing import bench, table
    from pipeline.common.records import write_json

    found = bench(options)
    for line in table(found, options):
        logger.info(line)
    if options.output is not None:
        recorded = {name: getattr(options, name) for name in ("config", "scenes", "repeats", "coherence")}
        write_json(options.output, {"options": recorded, "cores": os.cpu_count(), "ms_a_scene": found})


def main() -> None:
    """Command line entry point."""
    run_stage("bench", BenchOptions, work, lambda options: options.log_dir)


if __name__ == "__main__":
    main()
