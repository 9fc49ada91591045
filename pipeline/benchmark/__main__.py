"""Command line of `ris-mvdr benchmark`."""

import logging

from pipeline.benchmark.options import BenchmarkOptions
from pipeline.common.main import command


@command("benchmark", BenchmarkOptions, lambda options: options.output_dir / "logs")
def main(options: BenchmarkOptions, logger: logging.Logger) -> None:
    """Runs the benchmark."""
    from pipeline.benchmark.runner import benchmark

    benchmark(options, logger)


if __name__ == "__main__":
    main()
