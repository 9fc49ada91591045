"""Options of `ris-mvdr learnability`."""

from pathlib import Path

from models.checked import AtLeast0, AtLeast1, stage_options
from models.effort import Effort
from models.multipath.config import MultipathConfig
from pipeline.scenes.installations import ScenesOptions

VERDICT_FILE = "learnability.json"


@stage_options(frozen=True)
class LearnabilityOptions(ScenesOptions):
    """Judges the training in a run folder."""

    run_dir: Path
    """Run folder of `python -m pipeline.train`; the verdict is written there."""
    backbone: Path | None = None
    """What is judged: that training's backbone with a fitted score, which then counts as learned too; left out,
    RUN_DIR/backbone.keras."""
    config: str = "l64_m64"
    """Set whose validation scenes are scored."""
    scenes: AtLeast1 = 1_000
    """Validation scenes, the first ones after those that chose the best epoch or stopped the fit of the score."""
    min_training_scenes: AtLeast0 = 100_000
    """A training on fewer scenes than this, repeats counted, is no proof."""

    effort: Effort = "default"
    """At which all are judged; training pays most where it is fast."""
    multipath: MultipathConfig = MultipathConfig()
    """As for `python -m pipeline.train`."""
