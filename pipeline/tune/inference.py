"""A trial of inference settings: scores given weights with changed settings, without training."""

import keras

from models.artifacts import load_weights, moved_to, with_settings
from models.covariance_estimator.backbone import Backbone
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from pipeline.scenes.identity import common_scenario
from pipeline.tune.objective import ObjectiveScorer
from pipeline.tune.options import InferenceOptions
from pipeline.tune.surrogate import Batches, Heartbeat
from pipeline.tune.training import Trained


def set_weights(options: InferenceOptions) -> LocalizerWeights:
    """The weights of the study with the settings of a trial, for the installation they were trained for."""
    if options.initial is None:
        return LocalizerWeights(Backbone(config=options.backbone))
    return with_settings(load_weights(options.initial), vars(options.backbone.refinement))


def evaluate_trial(options: InferenceOptions, batches: Batches, heartbeat: Heartbeat) -> Trained:
    """Scores the weights by MVDR-final on the few scenes of `batches`; the result is that of `train_trial` with no
    epochs.
    """
    keras.utils.set_random_seed(options.seed)
    weights = moved_to(set_weights(options), common_scenario(options.config))
    localizer = Localizer(weights, options.localizer)
    scored = ObjectiveScorer()(localizer, batches, heartbeat)
    return Trained(localizer, (float(scored.tally.total().objective),), 0, scored.ms_per_scene)
