"""Options of `ris-mvdr confidence`."""

from pathlib import Path

from models.checked import AtLeast1, Positive, stage_options
from models.multipath.config import MultipathConfig
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import Configs, ScenesOptions


@stage_options(frozen=True)
class ConfidenceOptions(WeightsOptions, ScenesOptions):
    """Fits the correction of the score; grid stages stay as they are."""

    run_dir: Path
    """Where backbone.keras with its fitted score, logs/, config.json and metrics.json go."""
    config: Configs = ("l64_m64",)
    """Sets of scenes, each with an equal share; their installations may differ."""
    scenes: AtLeast1 = 10_000
    """Training scenes of each set, the first ones."""
    validation_scenes: AtLeast1 = 1_000
    """Validation scenes of each set, the first ones: they stop the fit."""
    epochs: AtLeast1 = 200
    """Most passes over the candidates."""
    learning_rate: Positive = 2e-3
    """Adam's first learning rate; falls to zero by a cosine."""
    batch_size: AtLeast1 = 512
    """Candidates a batch."""
    seed: int = 1
    """Seeds weights and the order of the candidates."""
    multipath: MultipathConfig = MultipathConfig()
    """Reflections, which the localizer looks for; --multipath.rounds 0 saves that time where scenes have none."""
