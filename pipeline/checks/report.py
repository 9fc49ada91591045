"""`python -m pipeline.checks.report`: one page of a run, a single HTML file that needs no network; docs/report.md."""

import dataclasses
import logging
from pathlib import Path

import tyro

from pipeline.common.main import run_stage

REPORT_FILE = "report.html"
_MOST_SCENES = 8  # browsers keep few WebGL contexts


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Makes one HTML page of a run: figures that one can turn and zoom, tables, lineage, and the commands behind it."""

    run_dir: tyro.conf.Positional[Path]
    """Output folder of `python -m pipeline.evaluate`, of a stage that trains, or of `python -m pipeline.run`."""
    compare_with: tuple[Path, ...] = ()
    """Output folders of further evaluations, sequential maximum likelihood for example: further curves and columns."""
    output: Path | None = None
    """The page; left out, report.html in the run's folder. logs/ goes beside it."""
    scenes: int = 4
    """Scenes in 3-D."""

    def __post_init__(self) -> None:
        if not 0 <= self.scenes <= _MOST_SCENES:
            raise ValueError(f"--scenes: expected 0 to {_MOST_SCENES}, got {self.scenes}")

    @property
    def page(self) -> Path:
        """Where the page goes."""
        return self.output or self.run_dir / REPORT_FILE


def log_directory(options: ReportOptions) -> Path:
    """Where the log goes; a folder that is no run is left as it is.

    Raises:
      ValueError: the folder is no run's, or the page's place is a folder.
    """
    from pipeline.reporting.folders import find_run

    find_run(options.run_dir)
    if options.page.is_dir():
        raise ValueError(f"--output: expected a file to write, got the folder {options.page}")
    return options.page.parent / "logs"


def work(options: ReportOptions, logger: logging.Logger) -> None:
    """Writes the page."""
    from pipeline.reporting.writing import write_report

    write_report(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("report", ReportOptions, work, log_directory)


if __name__ == "__main__":
    main()
