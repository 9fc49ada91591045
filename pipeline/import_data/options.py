"""Options of `ris-mvdr import_data`."""

from pathlib import Path

from models.checked import stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class ImportDataOptions:
    """Converts data of other programs to the measurement file that the client and calibrate read.

    It reads HDF5, MATLAB, npz, SigMF or TFRecord files, Sionna RT coefficients or a DeepMIMO folder.
    """

    map: Path
    """Map: a TOML file that says where each array is; docs/import.md, docs/import_sionna.md,
    docs/import_deepmimo.md."""
    output: Path
    """Measurement file to write, .npz."""
    installation: InstallationFile | None = None
    """Installation file, docs/installation.md; the data must have its antennas and elements. Default: no such check,
    or, for Sionna RT and DeepMIMO, the default installation."""
    log_dir: Path = Path("runs/logs")
    """Folder of the log."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".npz":
            raise ValueError(f"--output: expected a name that ends with .npz, got {self.output}")
