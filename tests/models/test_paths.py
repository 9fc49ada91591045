"""The likelihood of sources with several paths against its definition in complex128."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.likelihood import Atoms, evaluate_atoms
from models.multipath.paths import Paths, evaluate_paths, no_paths, unmix
from models.physics.geometry import RISArray
from models.physics.observation import observe
from tests.references import paths as reference
from tests.references.likelihood import derivatives, fisher_information

ARRAY = RISArray(4, 3)
SOURCES = np.array([[0.3, -0.2, 0.5, -0.4], [0.1, 0.1, 0.4, 0.0], [-0.6, 0.3, 1.2, -1.5]])
REFLECTED = np.array([[1.1, 0.0, 0.1, -1.0, 0.7], [0.0, 0.0, 0.2, 3.0, 0.0], [-0.2, -1.0, 0.05, -2.0, -2.5]])
OWNERS = np.array([2, 0, 2])
ATOM_ACTIVE, PATH_ACTIVE = np.array([True, False, True]), np.array([True, False, True])
NOISE_POWER = 0.3
USED = (SOURCES[ATOM_ACTIVE], REFLECTED[PATH_ACTIVE])
USED_OWNERS = [1, 1]
ROWS = np.concatenate(
    [np.arange(4) * 3 + np.array([[0], [2]]).repeat(4, 1), 12 + np.array([[0, 3], [2, 5]])], axis=None
)
"""Where the kernel puts the parameters of the two sources, and log power and phase of the two paths."""


@pytest.fixture(scope="module")
def observation():
    rng = np.random.default_rng(6)
    shapes = [(1, 9, 5), (1, 9, 12), (1, 5, 12)]
    snapshots, codes, channel = (rng.normal(size=(*shape, 2)) @ [1, 1j] for shape in shapes)
    codes /= np.abs(codes)
    return observe(*(tf.constant(x, tf.complex64) for x in (snapshots, codes, channel)), tf.constant([5.0]))


@pytest.fixture(scope="module")
def scene(observation):
    return observation.operator[0].numpy().astype(complex), observation.snapshots[0].numpy().astype(complex)


def atoms_of(active=ATOM_ACTIVE) -> Atoms:
    return Atoms(tf.constant(SOURCES[None], tf.float32), tf.constant(active[None]), tf.constant([NOISE_POWER]))


def paths_of(active=PATH_ACTIVE) -> Paths:
    parts = tf.constant(REFLECTED[None], tf.float32)
    owners = tf.constant(OWNERS[None], tf.int32)
    return Paths(parts[..., :3], parts[..., 3], parts[..., 4], owners, tf.constant(active[None]))


@pytest.fixture(scope="module")
def evaluated(observation):
    return evaluate_paths(observation, atoms_of(), paths_of(), ARRAY)


def at(sources: np.ndarray, paths: np.ndarray, scene, noise_power: float = NOISE_POWER) -> float:
    return reference.nll(sources, paths, USED_OWNERS, noise_power, *scene, ARRAY)


def free(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sources and paths from the free parameters: all of the sources, log power and phase of the paths."""
    return values[:8].reshape(2, 4), np.concatenate([USED[1][:, :3], values[8:].reshape(2, 2)], axis=1)


POINT = np.concatenate([USED[0].ravel(), USED[1][:, 3:].ravel()])


def test_likelihood_is_that_of_rank_one_coherent_columns(evaluated, scene) -> None:
    assert float(evaluated[0].nll[0]) == pytest.approx(at(*USED, scene), rel=1e-5)


def test_gradient_is_the_slope(evaluated, scene) -> None:
    slope = derivatives(lambda x: at(*free(x), scene), POINT)
    np.testing.assert_allclose(evaluated[0].gradient[0].numpy()[ROWS], slope, rtol=1e-3, atol=2e-3)
    noise = derivatives(lambda x: at(*USED, scene, np.exp(x[0])), np.log([NOISE_POWER]))
    assert float(evaluated[0].noise_gradient[0]) == pytest.approx(noise[0], rel=1e-3)


def test_fisher_information_is_the_trace_formula(evaluated, scene) -> None:
    def covariances(point: np.ndarray) -> np.ndarray:
        return reference.covariances(*free(point), USED_OWNERS, NOISE_POWER, scene[0], ARRAY)

    expected = fisher_information(derivatives(covariances, POINT), covariances(POINT))
    found = evaluated[0].fisher[0].numpy()
    np.testing.assert_allclose(found[np.ix_(ROWS, ROWS)], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    inactive = np.setdiff1d(np.arange(len(found)), ROWS)
    assert not found[inactive].any() and not found[:, inactive].any()


def test_log_likelihood_ratios_are_what_removing_a_source_or_a_path_costs(evaluated, scene) -> None:
    whole = at(*USED, scene)
    for kept, slot in ((1, 0), (0, 2)):
        paths = USED[1] if kept == 1 else USED[1][:0]
        alone = reference.nll(USED[0][[kept]], paths, [0] * len(paths), NOISE_POWER, *scene, ARRAY)
        assert float(evaluated[0].llr[0, slot]) == pytest.approx(alone - whole, rel=1e-3)
    for kept, slot in ((1, 0), (0, 2)):
        without = reference.nll(USED[0], USED[1][[kept]], [1], NOISE_POWER, *scene, ARRAY)
        assert float(evaluated[0].path_llr[0, slot]) == pytest.approx(without - whole, rel=1e-3, abs=1e-3)


def test_without_paths_it_is_the_likelihood_of_independent_sources(observation) -> None:
    alone = evaluate_paths(observation, atoms_of(), no_paths(tf.constant(1), 2), ARRAY)[0]
    expected = evaluate_atoms(observation, atoms_of(), ARRAY)
    for name in ("nll", "llr", "noise_gradient", "noise_fisher"):
        np.testing.assert_allclose(getattr(alone, name), getattr(expected, name), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone.gradient[:, :12], expected.gradient, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(alone.fisher[:, :12, :12], expected.fisher, rtol=1e-3, atol=1e-3)


def test_symbols_are_posterior_means(observation, evaluated, scene) -> None:
    """Posterior mean: C B^H y / sigma^2 with C = (B^H B / sigma^2 + I)^-1. Certainty: one minus the diagonal of C."""
    operator, snapshots = scene
    columns = []
    for number, source in enumerate(USED[0]):
        parts = [(*source, 0.0), *(path for path, owner in zip(USED[1], USED_OWNERS, strict=True) if owner == number)]
        vectors = [
            np.exp(0.5 * power + 1j * phase) * reference.steering_vector(az, el, 1.0 / w, ARRAY)
            for az, el, w, power, phase in parts
        ]
        columns.append(np.sum(vectors, axis=0))
    response = operator @ np.stack(columns, axis=-1)
    inverse = np.linalg.inv(response.conj().mT @ response / NOISE_POWER + np.eye(2))
    symbols = inverse @ response.conj().mT @ snapshots[..., None] / NOISE_POWER
    for unmixed in (evaluated[1], unmix(observation, atoms_of(), paths_of(), ARRAY)):
        np.testing.assert_allclose(unmixed.symbols.numpy()[0][:, [0, 2]], symbols[..., 0], rtol=1e-3, atol=1e-4)
        certainty = 1.0 - np.diagonal(inverse, axis1=1, axis2=2).real
        np.testing.assert_allclose(unmixed.certainty.numpy()[0][:, [0, 2]], certainty, rtol=1e-3)
        assert not unmixed.symbols.numpy()[0][:, 1].any()
