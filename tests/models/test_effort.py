"""Effort: more effort never lowers the likelihood, and disabled steps stay disabled."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import with_effort
from models.config import LocalizerConfig
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import RefinementConfig
from models.effort import EFFORTS, at_effort
from models.localizer_weights import LocalizerWeights
from models.multipath.config import MultipathConfig
from models.physics.geometry import Scenario
from models.physics.observation import observe
from tests.conftest import TINY
from tests.simulated import batch_of, inputs_of


@pytest.mark.parametrize("settings", [RefinementConfig(), MultipathConfig()])
def test_effort_only_ever_grows(settings) -> None:
    """Numbers of steps, rounds and candidates rise from fast to thorough; the default is unchanged."""
    fast, default, thorough = (dataclasses.asdict(at_effort(settings, effort)) for effort in EFFORTS)
    assert default == dataclasses.asdict(settings)
    assert fast != default != thorough
    for name, value in default.items():
        if fast[name] != value or thorough[name] != value:
            assert fast[name] <= value <= thorough[name]


def test_what_is_off_stays_off() -> None:
    assert at_effort(MultipathConfig(rounds=0), "thorough").rounds == 0
    assert at_effort(RefinementConfig(additions=0), "thorough").additions == 0
    assert at_effort(RefinementConfig(additions=0), "fast").additions == 0


@pytest.mark.extended
def test_more_effort_explains_scenes_better() -> None:
    """The NLL of the result plus a penalty per source, the pruning threshold, over 24 scenes."""
    shape = dataclasses.replace(TINY, refinement=RefinementConfig())
    weights = LocalizerWeights(Backbone(Scenario(), shape))
    inputs = {name: tf.constant(value) for name, value in inputs_of(batch_of(24)).items()}
    reached = []
    for effort in EFFORTS:
        backbone = with_effort(weights, LocalizerConfig(), effort)[0].backbone
        prediction = backbone.predict_covariance(observe(**inputs))
        number = tf.reduce_sum(tf.cast(prediction.atoms.active, tf.float32), axis=-1)
        reached.append(float(np.mean(prediction.nll + shape.refinement.prune_llr * number)))
    fast, default, thorough = reached
    assert fast > default + 1.0
    assert thorough < default + 0.5
