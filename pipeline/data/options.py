"""Options of `ris-mvdr data`."""

import dataclasses
from pathlib import Path

from models.checked import AtLeast1, stage_options
from models.physics.installation import InstallationFile
from pipeline.scenes.installations import InstallationOptions


@stage_options(frozen=True)
class DataOptions(InstallationOptions):
    """Simulates a data set and writes it with the TFDS builder. An existing data set is kept.

    The sizes are part of the name: --config l64_m64 --train 512 --validation 64 --test 128 makes the data set
    l64_m64_512_64_128. The other stages take this name as --config.
    """

    config: str = "l64_m64"
    """Data set: l64_m64 (default scenario), l64_m64_small (the same, few scenes), l64_m64_legacy, l64_m64_rician,
    l64_random, l64_m64_impaired, l16_m16, l32_m32, l128_m128; in other propagation environments, l64_m64_amplitude,
    _pattern, _hall, _power, _sight, _world, _qpsk, _correlated, _outside, _crowded; or one of these with sizes."""
    train: AtLeast1 | None = None
    """Number of training scenes. Default: that of the data set."""
    validation: AtLeast1 | None = None
    """Number of validation scenes. Default: that of the data set."""
    test: AtLeast1 | None = None
    """Number of test scenes. Default: that of the data set."""
    data_dir: Path = Path("runs/data")
    """Folder of the data sets."""
    installation: InstallationFile | None = dataclasses.field(default=None, kw_only=True)
    """Installation file to simulate, docs/installation.md. Default: the installation of the data set."""
    processes: AtLeast1 | None = None
    """Number of processes. Default: one per core for 10,000 scenes or more, else one."""
