"""Options of `ris-mvdr report`."""

import dataclasses
from pathlib import Path

import tyro

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
