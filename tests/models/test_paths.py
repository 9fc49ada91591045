"""Paths of one scene: selecting, adding, and the direct ones as atoms in slots. Only the order of paths changes."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.paths import Paths, direct_paths
from models.physics.geometry import RISArray
from tests.references.steering import steering_vector

PARAMETERS = np.random.default_rng(0).uniform(0.1, 1.0, (6, 5)).astype(np.float32)
PARAMETERS[:3, 4] = 0.0
SOURCE = [0, 1, 2, 2, 0, 2]
NOISE_POWER = 0.3
NEW = np.array([0.2, -0.1, 0.4, -1.0], np.float32)


@pytest.fixture
def paths() -> Paths:
    """Three sources; two reflections belong to the last one, one to the first."""
    return Paths(tf.constant(PARAMETERS), tf.constant(SOURCE), tf.constant(NOISE_POWER))


@pytest.fixture
def no_paths() -> Paths:
    return Paths(tf.zeros([0, 5]), tf.zeros([0], tf.int32), tf.constant(NOISE_POWER))


def check(paths: Paths, parameters: np.ndarray, source: list[int]) -> None:
    np.testing.assert_array_equal(paths.parameters, parameters)
    np.testing.assert_array_equal(paths.source, source)
    assert paths.source.dtype == tf.int32
    assert float(paths.noise_power) == pytest.approx(NOISE_POWER)


def test_counts_and_members(paths: Paths, no_paths: Paths) -> None:
    assert (int(paths.count), int(paths.num_sources)) == (6, 3)
    np.testing.assert_array_equal(paths.membership(), [[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert (int(no_paths.count), int(no_paths.num_sources)) == (0, 0)
    assert no_paths.membership().shape == (0, 0)


def test_vectors_and_amplitudes(paths: Paths) -> None:
    array = RISArray(4, 3)
    expected = [steering_vector(az, el, 1.0 / w, array) for az, el, w, *_ in PARAMETERS]
    np.testing.assert_allclose(paths.steering(array), expected, rtol=1e-4, atol=1e-4)
    amplitudes = np.exp(0.5 * PARAMETERS[:, 3] + 1j * PARAMETERS[:, 4])
    np.testing.assert_allclose(paths.amplitudes(), amplitudes, rtol=1e-5)


@pytest.mark.parametrize(
    ("kept", "source"),
    [
        ([0, 1, 2, 3, 4, 5], SOURCE),
        ([0, 2, 3, 4, 5], [0, 1, 1, 0, 1]),
        ([0, 1, 2, 5], [0, 1, 2, 2]),
        ([1, 2, 5], [0, 1, 1]),
        ([1], [0]),
        ([], []),
    ],
)
def test_paths_left_out_leave_the_rest_as_it_was(paths: Paths, kept: list[int], source: list[int]) -> None:
    keep = np.isin(np.arange(6), kept)
    check(paths.select(tf.constant(keep)), PARAMETERS[keep], source)


def test_a_new_source_comes_behind_the_direct_paths(paths: Paths, no_paths: Paths) -> None:
    grown = paths.with_source(tf.constant(NEW))
    new = np.append(NEW, 0.0)
    check(grown, np.insert(PARAMETERS, 3, new, axis=0), [0, 1, 2, 3, 2, 0, 2])
    check(grown.select(tf.range(7) != 3), PARAMETERS, SOURCE)
    check(no_paths.with_source(tf.constant(NEW)), new[None], [0])


@pytest.mark.parametrize("slots", [None, 2, 3, 5])
def test_direct_paths_as_atoms(paths: Paths, slots: int | None) -> None:
    """Spare slots hold no atom. The last sources find no slot if there are too few."""
    atoms = paths.atoms(slots)
    size = 3 if slots is None else slots
    used = min(3, size)
    assert atoms.parameters.shape == (1, size, 4)
    np.testing.assert_array_equal(atoms.active, [np.arange(size) < used])
    np.testing.assert_array_equal(atoms.parameters[0, :used], PARAMETERS[:used, :4])
    assert np.all(np.isfinite(atoms.steering(RISArray(4, 3)).numpy()))
    np.testing.assert_allclose(atoms.powers()[0], np.pad(np.exp(PARAMETERS[:used, 3]), [0, size - used]), rtol=1e-6)
    np.testing.assert_allclose(atoms.noise_power, [NOISE_POWER])
    again = direct_paths(*(part[0] for part in atoms))
    check(again, paths.parameters[:used], list(range(used)))


def test_no_path_is_no_atom(no_paths: Paths) -> None:
    atoms = no_paths.atoms(4)
    np.testing.assert_array_equal(atoms.active, [[False] * 4])
    check(direct_paths(*(part[0] for part in atoms)), np.zeros((0, 5)), [])


def test_inactive_slots_are_no_paths() -> None:
    active = np.array([True, False, True, True, False, False])
    paths = direct_paths(tf.constant(PARAMETERS[:, :4]), tf.constant(active), tf.constant(NOISE_POWER))
    check(paths, np.pad(PARAMETERS[active, :4], [[0, 0], [0, 1]]), [0, 1, 2])
