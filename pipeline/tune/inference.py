"""A trial of inference settings: scores given weights with changed settings, without training."""

from pathlib import Path

import keras

from models.artifacts import load_weights, moved_to, with_settings
from models.covariance_estimator.backbone import Backbone
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.scenes.identity import common_scenario
from pipeline.tune.objective import ObjectiveScorer
from pipeline.tune.options import InferenceOptions
from pipeline.tune.surrogate import Heartbeat, scenes_of_stage_1
from pipeline.tune.training import Trained


class ObjectiveOfFew:
    """The surrogate of Stage 1 where nothing is trained: MVDR-final on fewer scenes.

    Args:
      data_dir, config: folder and name of the set of scenes.
      skip, take: how many validation scenes are skipped first, and how many are scored.
    """

    def __init__(self, data_dir: Path, config: str, *, skip: int, take: int) -> None:
        self.batches, self.scenes = scenes_of_stage_1(data_dir, config, skip, take), take

    def score(self, localizer: Localizer, heartbeat: Heartbeat) -> tuple[float, float | None]:
        """The objective of the localizer, and its CPU time per scene in ms; None with a single batch."""
        scored = ObjectiveScorer()(localizer, self.batches, self.scenes, heartbeat)
        return float(scored.tally.total().objective), scored.ms_per_scene


def set_weights(options: InferenceOptions) -> LocalizerWeights:
    """The weights of the study with the settings of a trial, for the installation they were trained for.

    Raises:
      ValueError: the weights are missing.
    """
    if options.initial is None:
        return LocalizerWeights(Backbone(config=options.backbone))
    return with_settings(load_weights(options.initial), vars(options.backbone.refinement))


def evaluate_trial(options: InferenceOptions, surrogate: ObjectiveOfFew, heartbeat: Heartbeat) -> Trained:
    """Scores the weights; the result is that of `train_trial` with no epochs."""
    keras.utils.set_random_seed(options.seed)
    weights = moved_to(set_weights(options), common_scenario(options.config))
    localizer = Localizer(weights, options.localizer)
    value, ms_per_scene = surrogate.score(localizer, heartbeat)
    return Trained(localizer, (value,), 0, ms_per_scene)
