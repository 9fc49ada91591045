"""Command line of `ris-mvdr push`."""

import logging

from pipeline.common.main import command
from pipeline.push.options import PushOptions


@command("push", PushOptions, lambda options: options.model_base_path.parent / "logs")
def main(options: PushOptions, logger: logging.Logger) -> None:
    """Pushes, or rolls back."""
    from pipeline.push.releasing import push_model

    push_model(options, logger)


if __name__ == "__main__":
    main()
