"""Command line of `ris-mvdr report`."""

import logging
from pathlib import Path

from pipeline.common.main import command
from pipeline.report.options import ReportOptions


def log_directory(options: ReportOptions) -> Path:
    """Where the log goes; a folder that is no run is left as it is.

    Raises:
      ValueError: the folder is no run's, or the page's place is a folder.
    """
    from pipeline.common.run_folders import find_run

    find_run(options.run_dir)
    if options.page.is_dir():
        raise ValueError(f"--output: expected a file to write, got the folder {options.page}")
    return options.page.parent / "logs"


@command("report", ReportOptions, log_directory)
def main(options: ReportOptions, logger: logging.Logger) -> None:
    """Writes the page."""
    from pipeline.report.builder import write_report

    write_report(options, logger)


if __name__ == "__main__":
    main()
