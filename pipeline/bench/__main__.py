"""Command line of `ris-mvdr bench`."""

import logging
import os

from pipeline.bench.options import BenchOptions
from pipeline.common.main import command


@command("bench", BenchOptions, lambda options: options.log_dir)
def main(options: BenchOptions, logger: logging.Logger) -> None:
    """Runs the measurement."""
    from pipeline.bench.timing import bench, table
    from pipeline.common.records import write_json

    found = bench(options)
    for line in table(found, options):
        logger.info(line)
    if options.output is not None:
        told = {name: getattr(options, name) for name in ("config", "scenes", "repeats", "multipath")}
        write_json(options.output, {"options": told, "cores": os.cpu_count(), "ms_a_scene": found})


if __name__ == "__main__":
    main()
