"""Covariances with errors of the columns: theory against measured errors."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.atoms import PARAMETERS_PER_ATOM
from models.covariance_estimator.likelihood import error_covariance, of_direct_paths
from models.decision.config import InflationConfig
from models.decision.inflation import inflation
from models.multipath.config import MultipathConfig
from models.multipath.mismatch import mismatch_ratio
from models.physics.observation import observe
from tests.reflected import (
    ARRAY,
    DIRECT,
    NUM_SNAPSHOTS,
    explained,
    measured,
    normal,
    paths_at,
    scenes_of,
    scored,
    vectors_of,
)

SCENES = 80


def with_column_error(rng, share: float, snr_db: float, *, of_phase: bool = False):
    """Scenes of one source. Its column has a random error with this share of its power, different in every scene."""
    column = vectors_of([DIRECT])[0]
    parts = []
    for _ in range(SCENES):
        error = np.sqrt(share / len(column)) * normal(rng, len(column))
        if of_phase:
            error = np.sqrt(share) * rng.normal(size=len(column)) * 1j * column
        parts.append(measured(rng, (column + error)[None], normal(rng, 1, NUM_SNAPSHOTS, 1), snr_db))
    return observe(*(tf.concat([part[name] for part in parts], 0) for name in parts[0]))


def squared_errors(observation, factor) -> np.ndarray:
    """e^T C^-1 e of azimuth, elevation and inverse range, with C multiplied by `factor(mismatch)`, [B]."""
    start = np.log(1.0 - float(observation.noise_power[0]))
    found = explained(observation, [DIRECT], [start], MultipathConfig(rounds=0))
    fisher = tf.stack([of_direct_paths(scene.evaluation, scene.paths) for scene in found])
    covariance = error_covariance(fisher, 1).numpy()[:, 0, :3, :3]
    covariance *= np.asarray(factor(tf.stack([scene.mismatch for scene in found])))[:, 0, None, None]
    error = np.stack([scene.paths.parameters[0, :3] for scene in found]) - np.array(DIRECT)
    return np.einsum("bi,bij,bj->b", error, np.linalg.inv(covariance), error)


def ratio_at_the_truth(observation) -> np.ndarray:
    """Mismatch ratio at the true sources. Nothing is fitted, so that no correction for fitted parameters is needed."""
    log_power = np.log(1.0 - float(observation.noise_power[0]))
    ratios = [
        mismatch_ratio(scene, *scored(scene, paths_at([DIRECT], [log_power], scene)), ARRAY)[0]
        for scene in scenes_of(observation)
    ]
    return np.array(ratios) * (1.0 - PARAMETERS_PER_ATOM / ARRAY.num_elements)


def test_the_ratio_is_one_where_the_model_holds() -> None:
    ratio = ratio_at_the_truth(with_column_error(np.random.default_rng(1), 0.0, 10.0))
    assert ratio.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("share", "of_phase"), [(0.003, False), (0.01, False), (0.003, True)])
def test_the_ratio_grows_by_the_column_error_as_predicted(share: float, of_phase: bool) -> None:
    """The ratio is 1 + f tau / N (1 + 2 N / (L M)) with f = L M / sigma^2 and tau the squared error of the column.

    A pure phase error counts fully, any other error by half. The bracket accounts for random symbols, codes and
    channels, whose sums over snapshots and antennas fluctuate."""
    observation = with_column_error(np.random.default_rng(2), share, 10.0, of_phase=of_phase)
    ratio = ratio_at_the_truth(observation)
    antennas, elements = observation.channel.shape[1], ARRAY.num_elements
    free = antennas - 1  # S^-1 leaves the noise power in all antenna dimensions but the source's own
    power = 1.0 - float(observation.noise_power[0])
    f = NUM_SNAPSHOTS * free / float(observation.noise_power[0])
    expected = f * share * power / elements * (1.0 + 2.0 * elements / (NUM_SNAPSHOTS * free)) * (2 if of_phase else 1)
    assert ratio.mean() - 1.0 == pytest.approx(expected, rel=0.25)


def test_inflated_covariances_are_honest_where_columns_are_wrong() -> None:
    observation = with_column_error(np.random.default_rng(3), 0.03, 15.0)
    plain = squared_errors(observation, np.ones_like)
    inflated = squared_errors(observation, lambda ratio: inflation(ratio, InflationConfig()))
    assert plain.mean() / 3.0 > 1.6
    assert 0.6 < inflated.mean() / 3.0 < 1.5


def test_nothing_is_inflated_where_the_model_holds() -> None:
    observation = with_column_error(np.random.default_rng(4), 0.0, 10.0)
    plain = squared_errors(observation, np.ones_like)
    np.testing.assert_allclose(
        squared_errors(observation, lambda ratio: inflation(ratio, InflationConfig())).mean(), plain.mean(), rtol=0.1
    )
    assert 0.6 < plain.mean() / 3.0 < 1.4


def test_the_factor_has_its_limits() -> None:
    factors = inflation(tf.constant([[0.5, 1.1, 3.2, 1e6]]), InflationConfig(max_factor=30.0))
    np.testing.assert_allclose(factors, [[1.0, 1.1, 3.2, 30.0]])


@pytest.mark.parametrize("setting", [{"max_factor": 0.5}, {"max_factor": float("nan")}])
def test_impossible_settings_are_refused(setting: dict) -> None:
    with pytest.raises(ValueError, match=f"InflationConfig.{next(iter(setting))}"):
        InflationConfig(**setting)
