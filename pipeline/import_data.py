"""`python -m pipeline.import_data`: brings measurements of other programs into the measurement file; docs/import.md."""

import dataclasses
import logging
from pathlib import Path

from pipeline.common.main import run_stage


@dataclasses.dataclass(frozen=True)
class ImportDataOptions:
    """Reads HDF5, MATLAB, npz, SigMF or TFRecord files, Sionna RT coefficients or a DeepMIMO folder by a map, checks
    what they hold and writes the measurement file that the client and calibrate take."""

    map: Path
    """What is where, TOML; docs/import.md, docs/import_sionna.md, docs/import_deepmimo.md."""
    output: Path
    """Measurement file, .npz."""
    installation: Path | None = None
    """Installation file, docs/installation.md, whose antennas and elements the data must have; Sionna RT and DeepMIMO
    take the default installation where it is left out."""
    log_dir: Path | None = None
    """Where the log goes; left out, logs/ beside the output."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".npz":
            raise ValueError(f"--output: expected a name that ends with .npz, got {self.output}")


def work(options: ImportDataOptions, logger: logging.Logger) -> None:
    """Imports."""
    from pipeline.importing.running import run_import

    run_import(options, logger)


def main() -> None:
    """Command line entry point."""
    run_stage("import_data", ImportDataOptions, work, lambda options: options.log_dir or options.output.parent / "logs")


if __name__ == "__main__":
    main()
