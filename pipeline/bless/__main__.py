"""Command line of `ris-mvdr bless`."""

import logging

from pipeline.bless.options import BlessOptions
from pipeline.common.main import FAIL, command


@command("bless", BlessOptions, lambda options: options.run_dir / "logs")
def main(options: BlessOptions, logger: logging.Logger) -> int | None:
    """Writes blessing.json; the exit status is 1 if the model is not blessed."""
    from pipeline.bless.blessing import BLESSED
    from pipeline.bless.judging import judge

    return None if judge(options, logger)["verdict"] == BLESSED else FAIL


if __name__ == "__main__":
    main()
