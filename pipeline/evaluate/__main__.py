"""Command line of `ris-mvdr evaluate`."""

import logging

from pipeline.common.main import command
from pipeline.evaluate.options import EvaluateOptions


@command("evaluate", EvaluateOptions, lambda options: options.output_dir / "logs")
def main(options: EvaluateOptions, logger: logging.Logger) -> None:
    """Runs the evaluation."""
    from pipeline.evaluate.runner import evaluate

    evaluate(options, logger)


if __name__ == "__main__":
    main()
