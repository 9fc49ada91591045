"""Options of `ris-mvdr kubeflow`."""

from pathlib import Path

import tyro

from models.checked import AtLeast0, stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class KubeflowOptions:
    """Compiles a run file to a Kubeflow pipeline, YAML: the steps of `ris-mvdr run`, in order, on a shared volume.

    Needs the extra `kubeflow`. It runs no stage and contacts no cluster.
    """

    config: tyro.conf.Positional[Path]
    """Run file, TOML, as for `ris-mvdr run`. Its paths are relative to the mount path."""
    image: str
    """Container image in which this project is installed."""
    output: Path = Path("pipeline.yaml")
    """YAML file to write. logs/ goes to the same folder."""
    run_dir: Path | None = None
    """Run folder in the volume. Default: run_dir of the run file."""
    installation: InstallationFile | None = None
    """Installation file for all stages, read here and again in the volume. Default: that of the run file."""
    volume_claim: str = "ris-mvdr"
    """Persistent volume claim that all steps mount."""
    mount_path: str = "/ris-mvdr"
    """Mount path of the volume. Every stage runs in this folder."""
    cpu: str | None = None
    """CPU request of each step, such as 4. Default: that of the cluster."""
    memory: str | None = None
    """Memory request of each step, such as 8Gi. Default: that of the cluster."""
    gpus: AtLeast0 = 0
    """GPUs of the steps that train networks: train and refine."""
    retries: AtLeast0 = 2
    """Number of times a failed step is run again. It resumes."""

    def __post_init__(self) -> None:
        if not self.mount_path.startswith("/"):
            raise ValueError(f"--mount-path: expected an absolute path, got {self.mount_path}")
