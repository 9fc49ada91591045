"""Off-grid refinement: atoms reach the maximum of the likelihood, unneeded ones are pruned, missing ones are added."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import GridConfig, RefinementConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.greedy_selection import _filled, best_peak
from models.covariance_estimator.likelihood import Atoms, error_covariance, evaluate_atoms
from models.covariance_estimator.off_grid_refinement import grid_peaks, refine_atoms
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import Observation, observe
from models.physics.steering import steering_vectors

ARRAY, VIEW = RISArray(), FieldOfView()
PLACES = np.array([[0.3, -0.2, 0.5], [-0.4, 0.1, 0.3]])
POWERS = np.array([1.0, 0.5])
NOISE = 0.02


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Six draws of two sources from the model, SNR 17 dB."""
    rng = np.random.default_rng(8)
    batch, num_snapshots, num_antennas, size = 6, 32, 12, ARRAY.num_elements

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=(*shape, 2)) @ [1, 1j] / np.sqrt(2)

    channel = normal(batch, num_antennas, size) / np.sqrt(num_antennas)
    codes = np.exp(2j * np.pi * rng.random((batch, num_snapshots, size)))
    vectors = steering_vectors(*(tf.constant(x) for x in PLACES.T), ARRAY).numpy()
    symbols = normal(batch, num_snapshots, 2) * np.sqrt(POWERS)
    clean = np.einsum("bmn,bln,kn,blk->blm", channel, codes, vectors, symbols)
    power = np.mean(np.abs(clean) ** 2, axis=(1, 2), keepdims=True)
    snapshots = clean + np.sqrt(NOISE * power) * normal(*clean.shape)
    snr_db = np.full(batch, -10 * np.log10(NOISE), np.float32)
    return observe(*(tf.constant(x, tf.complex64) for x in (snapshots, codes, channel)), tf.constant(snr_db))


def atoms_near(observation: Observation, places: np.ndarray, powers: np.ndarray, slots: int = 3) -> Atoms:
    batch = observation.noise_power.shape[0]
    parameters = np.zeros((batch, slots, 4), np.float32)
    parameters[:, : len(places)] = np.column_stack([places, np.log(powers)])
    active = np.broadcast_to(np.arange(slots) < len(places), (batch, slots))
    return Atoms(tf.constant(parameters), tf.constant(active), observation.noise_power)


def refine(observation: Observation, atoms: Atoms, steps: int = 15, **config: float):
    return refine_atoms(observation, atoms, ARRAY, VIEW, RefinementConfig(**config), steps)


@pytest.mark.promise("off-grid refinement", "errors and scores")
def test_reaches_the_truth_within_its_own_error_bars(observation: Observation) -> None:
    start = atoms_near(observation, PLACES + np.array([0.03, -0.03, 0.05]), POWERS / 3)
    atoms, evaluation = refine(observation, start)
    before = evaluate_atoms(observation, start, ARRAY).nll
    assert np.all(evaluation.nll < before)
    covariance = error_covariance(atoms, evaluation).numpy()[:, :2, :3, :3]
    error = atoms.parameters.numpy()[:, :2, :3] - PLACES
    nees = np.einsum("bki,bkij,bkj->bk", error, np.linalg.inv(covariance), error)
    assert 0.4 < np.mean(nees) / 3 < 2.0  # far tails of chi-square with 36 degrees of freedom
    np.testing.assert_allclose(atoms.noise_power, NOISE / (1 + NOISE), rtol=0.25)


def test_drops_an_atom_that_explains_nothing(observation: Observation) -> None:
    extra = np.vstack([PLACES, [0.9, 0.4, 1.5]])
    start = atoms_near(observation, extra, np.append(POWERS, 1e-3))
    atoms, evaluation = refine(observation, start)
    np.testing.assert_array_equal(atoms.active, [[True, True, False]] * 6)
    kept, _ = refine(observation, start, prune_llr=0.0)
    assert np.sum(kept.active) > np.sum(atoms.active)
    assert np.all(evaluation.llr.numpy()[:, :2] > 100)


def test_noise_power_stays_within_its_limits(observation: Observation) -> None:
    one = atoms_near(observation, PLACES[:1], POWERS[:1])
    free, _ = refine(observation, one)
    assert np.all(free.noise_power > 3 * observation.noise_power)  # the other source acts as noise
    told, _ = refine(observation, one, noise_range_db=(0.0, 0.0))
    np.testing.assert_allclose(told.noise_power, observation.noise_power, rtol=1e-6)


def test_adds_what_is_missing(observation: Observation) -> None:
    grid = PolarDictionary(ARRAY, VIEW, GridConfig())
    atoms, _ = refine(observation, atoms_near(observation, PLACES[:1], POWERS[:1]))
    atoms, added = _filled(atoms, best_peak(observation, atoms, grid, RefinementConfig()))
    assert np.all(added) and np.all(np.sum(atoms.active, axis=1) == 2)
    atoms, _ = refine(observation, atoms)
    found = np.where(atoms.active[..., None], atoms.parameters[..., :3], np.inf)
    for place in PLACES:
        assert np.all(np.min(np.linalg.norm(found - place, axis=-1), axis=1) < 0.03)


def test_grid_peaks_are_local_maxima_in_falling_order() -> None:
    grid = PolarDictionary(RISArray(4, 4), VIEW, GridConfig(7, 6, 5))
    score = np.random.default_rng(3).random((2, 7, 6, 5)).astype(np.float32)
    indices, values = grid_peaks(tf.constant(score.reshape(2, -1)), grid, 30)
    for scene in range(2):
        padded = np.pad(score[scene], 1, constant_values=-1)
        maxima = [
            score[scene][i, j, k]
            for i, j, k in np.ndindex(7, 6, 5)
            if score[scene][i, j, k] == padded[i : i + 3, j : j + 3, k : k + 3].max()
        ]
        expected = np.sort(maxima)[::-1][:30]
        found = values[scene].numpy()
        np.testing.assert_array_equal(found[: len(expected)], expected)
        assert np.all(np.isneginf(found[len(expected) :]))
        np.testing.assert_array_equal(score[scene].ravel()[indices[scene].numpy()[: len(expected)]], expected)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -1),
        ("additions", -1),
        ("candidates", 0),
        ("low_rank_steps", 0),
        ("low_rank_branches", 0),
        ("low_rank_llr", -1.0),
        ("settling_steps", -1),
        ("tolerance", -0.1),
        ("prune_llr", -1.0),
        ("noise_range_db", (1.0, 2.0)),
    ],
)
def test_refusals(field: str, value) -> None:
    with pytest.raises(ValueError, match=rf"RefinementConfig\.{field}(\[\d\])?: expected"):
        RefinementConfig(**{field: value})
