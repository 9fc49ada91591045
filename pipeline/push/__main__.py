"""Command line of `ris-mvdr push`."""

import logging

from pipeline.common.main import run_stage
from pipeline.push.options import PushOptions


def work(options: PushOptions, logger: logging.Logger) -> None:
    """Pushes, or rolls back."""
    from pipeline.push.releasing import push_model

    push_model(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("push", PushOptions, work, lambda options: options.model_base_path.parent / "logs")


if __name__ == "__main__":
    main()
