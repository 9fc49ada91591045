"""Options of `ris-mvdr import_data`."""

from pathlib import Path

from models.checked import stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class ImportDataOptions:
    """Converts HDF5, MATLAB, npz, SigMF or TFRecord files, Sionna RT coefficients or a DeepMIMO folder to the
    measurement file that the client and calibrate read."""

    map: Path
    """Map, TOML: where each array is; docs/import.md, docs/import_sionna.md, docs/import_deepmimo.md."""
    output: Path
    """Measurement file to write, .npz."""
    installation: InstallationFile | None = None
    """Installation file, docs/installation.md, whose antennas and elements the data must have. Default: no such check;
    for Sionna RT and DeepMIMO, the default installation."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".npz":
            raise ValueError(f"--output: expected a name that ends with .npz, got {self.output}")
