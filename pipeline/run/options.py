"""Options of `ris-mvdr run`."""

from pathlib import Path
from typing import Annotated

import tyro

from models.checked import stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class RunOptions:
    """Runs the stages that a file names, each a process of its own; killed, the same command goes on.

    A stage whose options, inputs and code have not changed is not run again. One whose folder holds the results of
    others stops the run before anything is touched.
    """

    config: tyro.conf.Positional[Path]
    """TOML: run_dir, installation, and a table for each stage, [data], [train] and so on, with its options as keys.
    [confidence], [learnability], [refine], [bless], [push], [mlflow] and [locate] run only where there is a table."""
    run_dir: Path | None = None
    """Where everything goes, in place of the file's run_dir."""
    installation: InstallationFile | None = None
    """An installation file that everything is for, docs/installation.md, in place of the file's."""
    plan: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Shows the plan and stops."""
