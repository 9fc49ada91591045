"""Command line of `ris-mvdr benchmark`."""

import logging

from pipeline.benchmark.options import BenchmarkOptions
from pipeline.common.main import run_stage


def work(options: BenchmarkOptions, logger: logging.Logger) -> None:
    """Runs the benchmark."""
    from pipeline.benchmark.runner import benchmark

    benchmark(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("benchmark", BenchmarkOptions, work, lambda options: options.output_dir / "logs")


if __name__ == "__main__":
    main()
