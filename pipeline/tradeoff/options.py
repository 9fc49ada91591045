"""Options of `ris-mvdr tradeoff`."""

from pathlib import Path

from models.checked import AtLeast1, stage_options
from models.multipath.config import MultipathConfig
from models.weights import PRETRAINED
from pipeline.scenes.installations import ScenesOptions


@stage_options(frozen=True)
class TradeoffOptions(ScenesOptions):
    """Measures accuracy against time."""

    output_dir: Path
    """Where tradeoff.json, tradeoff.png and config.json go."""
    backbone: Path = PRETRAINED
    """A trained backbone.keras, compared with the untrained one of its shape; left out, the pretrained weights."""
    config: str = "l64_m64"
    """Set of scenes."""
    scenes: AtLeast1 = 500
    """Test scenes, the first ones."""
    batch_size: AtLeast1 = 50
    """Scenes a call."""

    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which all settings look for; --multipath.rounds 0: none does."""
