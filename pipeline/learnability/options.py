"""Options of `ris-mvdr learnability`."""

from pathlib import Path

from models.checked import AtLeast0, AtLeast1, stage_options
from models.effort import Effort
from models.multipath.config import MultipathConfig
from pipeline.scenes.installations import ScenesOptions

VERDICT_FILE = "learnability.json"


@stage_options(frozen=True)
class LearnabilityOptions(ScenesOptions):
    """Tests whether the training in a run folder learned anything: PASS or FAIL."""

    run_dir: Path
    """Run folder of `ris-mvdr train`. The verdict is written there."""
    backbone: Path | None = None
    """Weights file to test: the backbone of that training with a fitted score, which then counts as learned too.
    Default: RUN_DIR/backbone.keras."""
    config: str = "l64_m64"
    """Data set whose validation scenes are used."""
    scenes: AtLeast1 = 1_000
    """Number of validation scenes. Those that chose the best epoch or stopped the fit of the score are skipped."""
    min_training_scenes: AtLeast0 = 100_000
    """Smallest number of training scenes for a PASS. Repeats count."""

    effort: Effort = "default"
    """Effort of all compared estimators. Training helps most at fast."""
    multipath: MultipathConfig = MultipathConfig()
    """Multipath estimation, as for `ris-mvdr train`."""
