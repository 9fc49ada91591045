"""Options of all trainings; this module does not import TensorFlow."""

from pathlib import Path

from models.checked import AtLeast1, Positive, stage_options
from models.multipath.config import MultipathConfig
from pipeline.fitting.workers import Strategy, this_worker
from pipeline.scenes.installations import Configs, ScenesOptions


@stage_options(frozen=True)
class FitOptions(ScenesOptions):
    """Scenes, length, devices and run folder of a training."""

    run_dir: Path
    """Run folder: the best model on validation, checkpoints/, logs/, tensorboard/, config.json and metrics.json."""
    config: Configs = ("l64_m64",)
    """Data sets, as for `ris-mvdr data`. Each batch and the validation take an equal share of each."""
    epochs: AtLeast1 = 25
    """Number of epochs. Each ends with a checkpoint and a validation. By default a training uses 100,000 scenes, which
    `ris-mvdr learnability` requires."""
    steps_per_epoch: AtLeast1 = 250
    """Batches per epoch."""
    batch_size: AtLeast1 = 16
    """Scenes per batch, over all replicas."""
    learning_rate: Positive = 1e-3
    """Initial learning rate of Adam. It falls to zero along a cosine."""
    validation_scenes: AtLeast1 = 200
    """Validation scenes per data set, the first ones. They are scored by the objective, docs/evaluation.md."""
    seed: int = 1
    """Seed of the weights and of the order of the scenes."""
    strategy: Strategy = "single"
    """Devices: one, all of this machine, or several workers named in TF_CONFIG (docs/scale_out.md). The result is the
    same up to rounding."""

    multipath: MultipathConfig = MultipathConfig()
    """Multipath estimation in validation. --multipath.rounds 0 disables it, to save time without reflections."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % len(self.config):
            raise ValueError(f"--batch-size: expected a multiple of the {len(self.config)} sets, got {self.batch_size}")


def log_dir(options: FitOptions) -> Path:
    """Folder of a training's log. Each worker other than the chief has its own."""
    logs, worker = options.run_dir / "logs", this_worker(options.strategy)
    return logs if worker.is_chief else logs / f"worker-{worker.rank + 1}"
