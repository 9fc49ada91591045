"""Command line of `ris-mvdr evaluate`."""

import logging

from pipeline.common.main import run_stage
from pipeline.evaluate.options import EvaluateOptions


def work(options: EvaluateOptions, logger: logging.Logger) -> None:
    """Runs the evaluation."""
    from pipeline.evaluate.runner import evaluate

    evaluate(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("evaluate", EvaluateOptions, work, lambda options: options.output_dir / "logs")


if __name__ == "__main__":
    main()
