"""Options of `ris-mvdr learnability`."""

import dataclasses
from pathlib import Path

from models.effort import Effort
from models.multipath.config import MultipathConfig
from pipeline.scenes.installations import apply_installation

VERDICT_FILE = "learnability.json"


@dataclasses.dataclass(frozen=True)
class LearnabilityOptions:
    """Judges the training in a run folder."""

    run_dir: Path
    """Run folder of `python -m pipeline.train`; the verdict is written there."""
    backbone: Path | None = None
    """What is judged: that training's backbone with a fitted score, which then counts as learned too; left out,
    RUN_DIR/backbone.keras."""
    config: str = "l64_m64"
    """Set whose validation scenes are scored."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    scenes: int = 1_000
    """Validation scenes, the first ones after those that chose the best epoch or stopped the fit of the score."""
    min_training_scenes: int = 100_000
    """A training on fewer scenes than this, repeats counted, is no proof."""

    effort: Effort = "default"
    """At which all are judged; training pays most where it is fast."""
    multipath: MultipathConfig = MultipathConfig()
    """As for `python -m pipeline.train`."""

    def __post_init__(self) -> None:
        apply_installation(self)
        for field, least in (("scenes", 1), ("min_training_scenes", 0)):
            if getattr(self, field) < least:
                raise ValueError(f"--{field.replace('_', '-')}: expected {least} or more, got {getattr(self, field)}")
