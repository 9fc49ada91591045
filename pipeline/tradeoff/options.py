"""Options of `ris-mvdr tradeoff`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from models.multipath.config import MultipathConfig
from models.weights import PRETRAINED
from pipeline.scenes.installations import ScenesOptions


@stage_options(frozen=True)
class TradeoffOptions(ScenesOptions):
    """Measures the accuracy and the time of several settings, with trained and untrained weights."""

    output_dir: Path
    """Output folder: tradeoff.json, tradeoff.png and config.json."""
    backbone: Path = PRETRAINED
    """Weights file, compared with untrained weights of the same shape."""
    config: str = "l64_m64"
    """Data set."""
    scenes: AtLeast1 = 500
    """Number of test scenes, the first ones."""
    batch_size: AtLeast1 = 50
    """Scenes per call."""

    multipath: MultipathConfig = MultipathConfig()
    """Multipath estimation in all settings. --multipath.rounds 0 disables it."""
