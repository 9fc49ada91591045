"""Options of `ris-mvdr data`."""

import dataclasses
from pathlib import Path

from models.checked import AtLeast1, stage_options
from models.physics.installation import InstallationFile
from pipeline.scenes.installations import InstallationOptions


@stage_options(frozen=True)
class DataOptions(InstallationOptions):
    """Simulates a set of scenes and writes it with the TFDS builder, or finds it already written.

    The size is part of the set's name: --config l64_m64 --train 512 --validation 64 --test 128 is the set
    l64_m64_512_64_128, and that name is what the other stages take as their --config.
    """

    config: str = "l64_m64"
    """Set of scenes: l64_m64 (the default scenario), l64_m64_small (the same, few scenes), l64_m64_legacy,
    l64_m64_rician, l64_random, l64_m64_impaired, l16_m16, l32_m32, l128_m128; of other worlds, l64_m64_amplitude,
    _pattern, _hall, _power, _sight, _world, _qpsk, _correlated, _outside, _crowded; or a set of any size."""
    train: AtLeast1 | None = None
    """Training scenes; left out, the set's own number."""
    validation: AtLeast1 | None = None
    """Validation scenes; left out, the set's own number."""
    test: AtLeast1 | None = None
    """Test scenes; left out, the set's own number."""
    data_dir: Path = Path("runs/data")
    """Where the sets lie."""
    installation: InstallationFile | None = dataclasses.field(default=None, kw_only=True)
    """An installation file that the scenes are drawn for, docs/installation.md; left out, the config's own."""
    processes: AtLeast1 | None = None
    """Processes that draw scenes; left out, one a core where there are 10,000 scenes or more."""
