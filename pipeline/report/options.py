"""Options of `ris-mvdr report`."""

from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from models.checked import stage_options

REPORT_FILE = "report.html"


@stage_options(frozen=True)
class ReportOptions:
    """Makes one HTML page of a run: figures that one can turn and zoom, tables, lineage, and the commands behind it."""

    run_dir: tyro.conf.Positional[Path]
    """Output folder of `python -m pipeline.evaluate`, of a stage that trains, or of `python -m pipeline.run`."""
    compare_with: tuple[Path, ...] = ()
    """Output folders of further evaluations, sequential maximum likelihood for example: further curves and columns."""
    output: Path | None = None
    """The page; left out, report.html in the run's folder. logs/ goes beside it."""
    scenes: Annotated[int, Interval(ge=0, le=8)] = 4
    """Scenes in 3-D."""  # browsers keep few WebGL contexts

    @property
    def page(self) -> Path:
        """Where the page goes."""
        return self.output or self.run_dir / REPORT_FILE
