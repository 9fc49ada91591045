"""Options of `ris-mvdr import_data`."""

from pathlib import Path

from models.checked import stage_options
from models.physics.installation import InstallationFile


@stage_options(frozen=True)
class ImportDataOptions:
    """Reads HDF5, MATLAB, npz, SigMF or TFRecord files, Sionna RT coefficients or a DeepMIMO folder by a map, checks
    what they hold and writes the measurement file that the client and calibrate take."""

    map: Path
    """What is where, TOML; docs/import.md, docs/import_sionna.md, docs/import_deepmimo.md."""
    output: Path
    """Measurement file, .npz."""
    installation: InstallationFile | None = None
    """Installation file, docs/installation.md, whose antennas and elements the data must have; Sionna RT and DeepMIMO
    take the default installation where it is left out."""
    log_dir: Path = Path("runs/logs")
    """Where the log goes."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".npz":
            raise ValueError(f"--output: expected a name that ends with .npz, got {self.output}")
