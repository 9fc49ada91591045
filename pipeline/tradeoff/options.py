"""Options of `ris-mvdr tradeoff`."""

import dataclasses
from pathlib import Path

from models.multipath.config import MultipathConfig
from models.weights import PRETRAINED
from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class TradeoffOptions:
    """Measures accuracy against time."""

    output_dir: Path
    """Where tradeoff.json, tradeoff.png and config.json go."""
    backbone: Path = PRETRAINED
    """A trained backbone.keras, compared with the untrained one of its shape; left out, the pretrained weights."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: str = "l64_m64"
    """Set of scenes."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    scenes: int = 500
    """Test scenes, the first ones."""
    batch_size: int = 50
    """Scenes a call."""

    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which all settings look for; --multipath.rounds 0: none does."""

    def __post_init__(self) -> None:
        apply_installation(self)
        for field in ("scenes", "batch_size"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')}: expected 1 or more, got {getattr(self, field)}")
