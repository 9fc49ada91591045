"""Options of `ris-mvdr run`."""

from pathlib import Path
from typing import Annotated

import tyro

from models.checked import stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class RunOptions:
    """Runs the stages of a run file, each in its own process, several at a time. If interrupted, the same command
    resumes.

    A stage is skipped if its options, inputs and code have not changed. If its folder holds other results, the run
    stops before it changes anything.
    """

    config: tyro.conf.Positional[Path]
    """Run file, TOML: run_dir, installation, and for each stage a table of its options, [data], [train] and so on.
    [confidence], [learnability], [refine], [bless], [push], [mlflow] and [locate] run only if they have a table."""
    run_dir: Path | None = None
    """Run folder. Default: run_dir of the run file."""
    installation: InstallationFile | None = None
    """Installation file for all stages, docs/installation.md. Default: that of the run file."""
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Prints the plan and stops."""
