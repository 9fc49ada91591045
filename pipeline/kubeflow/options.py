"""Options of `ris-mvdr kubeflow`."""

from pathlib import Path

import tyro

from models.checked import AtLeast0, stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class KubeflowOptions:
    """Writes the YAML that Kubeflow Pipelines takes: the steps of `ris-mvdr run`, in order, on a volume they share.

    Needs the extra `kubeflow`. Nothing is run, and no cluster is asked.
    """

    config: tyro.conf.Positional[Path]
    """The run's TOML, as for `ris-mvdr run`; its paths are relative, in the volume."""
    image: str
    """Container image in which this project is installed."""
    output: Path = Path("pipeline.yaml")
    """Where the YAML goes; logs/ beside it."""
    run_dir: Path | None = None
    """Where in the volume everything goes, in place of the file's run_dir."""
    installation: InstallationFile | None = None
    """An installation file that everything is for, in place of the file's; read here, and again in the volume."""
    volume_claim: str = "ris-mvdr"
    """Persistent volume claim of the cluster that all steps mount."""
    mount_path: str = "/ris-mvdr"
    """Where they mount it; the folder in which every stage runs."""
    cpu: str | None = None
    """Processors that a step asks for, such as 4; left out, what the cluster gives."""
    memory: str | None = None
    """Memory that a step asks for, such as 8Gi."""
    gpus: AtLeast0 = 0
    """GPUs of the steps that train networks, train and refine."""
    retries: AtLeast0 = 2
    """How often a step that ended otherwise than well is begun again; it goes on where it was."""

    def __post_init__(self) -> None:
        if not self.mount_path.startswith("/"):
            raise ValueError(f"--mount-path: expected an absolute path, got {self.mount_path}")
