"""Command line of `ris-mvdr bless`."""

import logging

from pipeline.bless.options import BlessOptions
from pipeline.common.main import FAIL, run_stage


def work(options: BlessOptions, logger: logging.Logger) -> int | None:
    """Writes blessing.json."""
    from pipeline.bless.blessing import BLESSED
    from pipeline.bless.judging import judge

    return None if judge(options, logger)["verdict"] == BLESSED else FAIL


def main() -> None:
    """Command line entry point; exit status 1 where the verdict is NOT_BLESSED."""
    run_stage("bless", BlessOptions, work, lambda options: options.run_dir / "logs")


if __name__ == "__main__":
    main()
