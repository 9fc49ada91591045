"""Options that all trainings share; this module does not import TensorFlow."""

import dataclasses
import math
from pathlib import Path

from models.reflections.config import CoherenceConfig
from pipeline.fitting.workers import Strategy, this_worker
from pipeline.scenes.installations import apply_installation


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """Scenes, length, devices and run folder of a training."""

    run_dir: Path
    """Where the best model by validation, checkpoints/, logs/, tensorboard/, config.json and metrics.json go."""
    data_dir: Path = Path("runs/data")
    """Where `python -m pipeline.data` put the scenes."""
    config: tuple[str, ...] = ("l64_m64",)
    """Sets of scenes, as for `python -m pipeline.data`; every batch takes an equal share of each, validation too."""
    installation: Path | None = None
    """An installation file that the sets are drawn for, as for `python -m pipeline.data`."""
    epochs: int = 25
    """Epochs; a checkpoint and a validation after each. The default training sees 100,000 scenes, what the learnability
    verdict asks for."""
    steps_per_epoch: int = 250
    """Batches an epoch."""
    batch_size: int = 16
    """Scenes a batch, over all replicas together."""
    learning_rate: float = 1e-3
    """Adam's first learning rate; falls to zero by a cosine."""
    validation_scenes: int = 200
    """Validation scenes of each set, the first ones of the split, scored by the findings' objective."""
    seed: int = 1
    """Seeds weights and the order of the scenes."""
    strategy: Strategy = "single"
    """On what it runs: one device, all of this machine, or several workers, which TF_CONFIG names (docs/scale_out.md);
    the result is the same up to rounding."""

    coherence: CoherenceConfig = CoherenceConfig()
    """Reflections, which validation looks for; --coherence.rounds 0 saves that time where scenes have none."""

    def __post_init__(self) -> None:
        apply_installation(self)
        for field in ("epochs", "steps_per_epoch", "batch_size", "validation_scenes"):
            if getattr(self, field) < 1:
                raise ValueError(f"--{field.replace('_', '-')}: expected 1 or more, got {getattr(self, field)}")
        if not self.config:
            raise ValueError("--config: expected at least one set of scenes, got none")
        if self.batch_size % len(self.config):
            raise ValueError(f"--batch-size: expected a multiple of the {len(self.config)} sets, got {self.batch_size}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning-rate: expected a finite positive number, got {self.learning_rate}")


def log_dir(options: FitOptions) -> Path:
    """The folder of a training's log; workers other than the chief have their own."""
    logs, worker = options.run_dir / "logs", this_worker(options.strategy)
    return logs if worker.is_chief else logs / f"worker-{worker.rank + 1}"
