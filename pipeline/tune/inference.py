"""A trial of knobs of inference: given weights with other settings, scored as they are."""

from pathlib import Path

import keras

from models.artifacts import load_weights, moved_to, with_settings
from models.covariance_estimator.backbone import Backbone
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.scenes.identity import common_scenario
from pipeline.tune.objective import Judge
from pipeline.tune.options import InferenceOptions
from pipeline.tune.surrogate import Heartbeat, scenes_of_stage_1
from pipeline.tune.training import Trained


class ObjectiveOfFew:
    """The surrogate of Stage 1 where nothing is trained: MVDR-final itself, on fewer scenes.

    Args:
      data_dir, config: where the scenes lie, and which set.
      skip, take: validation scenes left out first, and scored.
    """

    def __init__(self, data_dir: Path, config: str, *, skip: int, take: int) -> None:
        self.batches, self.scenes = scenes_of_stage_1(data_dir, config, skip, take), take

    def score(self, localizer: Localizer, heartbeat: Heartbeat) -> tuple[float, float | None]:
        """The localizer's objective, and its CPU time in ms per scene where it can be told from tracing."""
        judged = Judge()(localizer, self.batches, self.scenes, heartbeat)
        return float(judged.tally.total().objective), judged.ms_per_scene


def set_weights(options: InferenceOptions) -> LocalizerWeights:
    """The study's weights with a trial's settings inside, for the installation they were trained for.

    Raises:
      ValueError: weights that are not there.
    """
    if options.initial is None:
        return LocalizerWeights(Backbone(config=options.backbone))
    return with_settings(load_weights(options.initial), vars(options.backbone.refinement))


def evaluate_trial(options: InferenceOptions, surrogate: ObjectiveOfFew, heartbeat: Heartbeat) -> Trained:
    """What `train_trial` gives of a training of no epochs."""
    keras.utils.set_random_seed(options.seed)
    weights = moved_to(set_weights(options), common_scenario(options.config))
    localizer = Localizer(weights, options.localizer)
    value, ms_per_scene = surrogate.score(localizer, heartbeat)
    return Trained(localizer, (value,), 0, ms_per_scene)
