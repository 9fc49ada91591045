"""Options that all trainings share; this module does not import TensorFlow."""

from pathlib import Path

from models.checked import AtLeast1, Positive, stage_options
from models.multipath.config import MultipathConfig
from pipeline.fitting.workers import Strategy, this_worker
from pipeline.scenes.installations import Configs, ScenesOptions


@stage_options(frozen=True)
class FitOptions(ScenesOptions):
    """Scenes, length, devices and run folder of a training."""

    run_dir: Path
    """Where the best model by validation, checkpoints/, logs/, tensorboard/, config.json and metrics.json go."""
    config: Configs = ("l64_m64",)
    """Sets of scenes, as for `python -m pipeline.data`; every batch takes an equal share of each, validation too."""
    epochs: AtLeast1 = 25
    """Epochs; a checkpoint and a validation after each. The default training sees 100,000 scenes, what the learnability
    verdict asks for."""
    steps_per_epoch: AtLeast1 = 250
    """Batches an epoch."""
    batch_size: AtLeast1 = 16
    """Scenes a batch, over all replicas together."""
    learning_rate: Positive = 1e-3
    """Adam's first learning rate; falls to zero by a cosine."""
    validation_scenes: AtLeast1 = 200
    """Validation scenes of each set, the first ones of the split, scored by the findings' objective."""
    seed: int = 1
    """Seeds weights and the order of the scenes."""
    strategy: Strategy = "single"
    """On what it runs: one device, all of this machine, or several workers, which TF_CONFIG names (docs/scale_out.md);
    the result is the same up to rounding."""

    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which validation looks for; --multipath.rounds 0 saves that time where scenes have none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % len(self.config):
            raise ValueError(f"--batch-size: expected a multiple of the {len(self.config)} sets, got {self.batch_size}")


def log_dir(options: FitOptions) -> Path:
    """The folder of a training's log; workers other than the chief have their own."""
    logs, worker = options.run_dir / "logs", this_worker(options.strategy)
    return logs if worker.is_chief else logs / f"worker-{worker.rank + 1}"
