"""Command line of `ris-mvdr report`."""

import logging
from pathlib import Path

from pipeline.common.main import command
from pipeline.report.options import ReportOptions


def log_directory(options: ReportOptions) -> Path:
    """Folder of the log. The input is checked first, so that no log is written for a wrong folder."""
    from pipeline.common.run_folders import find_run

    find_run(options.run_dir)
    if options.page.is_dir():
        raise ValueError(f"--output: expected a file to write, got the folder {options.page}")
    return options.page.parent / "logs"


@command("report", ReportOptions, log_directory)
def main(options: ReportOptions, logger: logging.Logger) -> None:
    """Writes the report."""
    from pipeline.report.builder import write_report

    write_report(options, logger)


if __name__ == "__main__":
    main()
