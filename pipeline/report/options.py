"""Options of `ris-mvdr report`."""

from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from models.checked import stage_options

REPORT_FILE = "report.html"


@stage_options(frozen=True)
class ReportOptions:
    """Writes one HTML page about a run: interactive figures, tables, lineage, and the commands that made it."""

    run_dir: tyro.conf.Positional[Path]
    """Run folder of `ris-mvdr evaluate`, of a training stage or of `ris-mvdr run`."""
    compare_with: tuple[Path, ...] = ()
    """Output folders of further evaluations, such as sequential maximum likelihood: more curves and columns."""
    output: Path | None = None
    """HTML file to write. Default: report.html in the run folder. logs/ goes to the same folder."""
    scenes: Annotated[int, Interval(ge=0, le=8)] = 4
    """Number of scenes shown in 3-D."""  # browsers keep few WebGL contexts

    @property
    def page(self) -> Path:
        """HTML file to write."""
        return self.output or self.run_dir / REPORT_FILE
