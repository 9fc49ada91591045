"""The start network: its inputs, its output before training, and independence of the order of the candidates."""

import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.artifacts import load_weights
from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import GridConfig, StartConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.spectral_maps import LikelihoodMaps
from models.covariance_estimator.start import Candidates, Start, StartNetwork, find_candidates, started_atoms
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import FieldOfView, RISArray
from tests.conftest import TINY

GRID = GridConfig(8, 6, 5)
DICTIONARY = PolarDictionary(RISArray(), FieldOfView(), GRID)
NOISE = tf.constant([0.1, 0.4], tf.float32)


def some_maps(seed: int = 0) -> tuple[tf.Tensor, LikelihoodMaps]:
    rng = np.random.default_rng(seed)
    gamma, v, q = np.exp(rng.normal(size=(3, 2, GRID.size))).astype(np.float32)
    return tf.constant(gamma / GRID.size), LikelihoodMaps(tf.constant(v), tf.constant(q))


def some_candidates(count: int = 6) -> Candidates:
    gamma, maps = some_maps()
    return find_candidates(gamma, maps, NOISE, DICTIONARY, count)


def test_candidates_are_the_highest_peaks_with_what_surrounds_them() -> None:
    """Against loops over cells. Values are repeated at the edges."""
    gamma, maps = some_maps()
    found = some_candidates()
    height = np.reshape(gamma * maps.q, [2, *GRID.shape])
    log_gamma = np.log(np.reshape(gamma, [2, *GRID.shape]) + 1e-9)
    log_ratio = np.log(np.reshape(maps.v + 1e-6, [2, *GRID.shape]) / np.reshape(maps.q + 1e-6, [2, *GRID.shape]))
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    for scene in range(2):
        peaks = []
        for cell in itertools.product(*map(range, GRID.shape)):
            about = [tuple(np.add(cell, step)) for step in steps]
            inside = [at for at in about if all(0 <= i < n for i, n in zip(at, GRID.shape, strict=True))]
            if height[scene][cell] >= max(height[scene][at] for at in inside):
                peaks.append((height[scene][cell], cell))
        expected = [cell for _, cell in sorted(peaks, reverse=True)[:6]]
        cells = np.transpose(np.unravel_index(found.indices[scene].numpy(), GRID.shape))
        np.testing.assert_array_equal(cells, expected)
        for number, cell in enumerate(expected):
            about = [tuple(np.clip(np.add(cell, step), 0, np.subtract(GRID.shape, 1))) for step in steps]
            near = np.array([log_gamma[scene][at] for at in about])
            np.testing.assert_allclose(found.log_power[scene, number], np.log(np.sum(np.exp(near))), rtol=1e-5)
            rise = np.clip(near - log_gamma[scene][cell], -6, 6) / 3
            np.testing.assert_allclose(found.features[scene, number, :27], rise, atol=1e-5)
            ratio = np.clip([log_ratio[scene][at] for at in about], -3, 3)
            np.testing.assert_allclose(found.features[scene, number, 27:54], ratio, atol=1e-5)


def test_untrained_it_takes_the_highest_peaks_where_they_are() -> None:
    found = some_candidates()
    start = StartNetwork()(found)
    for values in start:
        np.testing.assert_array_equal(values, np.zeros(values.shape))
    atoms = started_atoms(found, start, NOISE, DICTIONARY, 4, 0.15)
    assert np.all(atoms.active)
    places = np.stack(
        [np.sin(atoms.parameters[..., 0]), np.sin(atoms.parameters[..., 1]), atoms.parameters[..., 2]], -1
    )
    np.testing.assert_allclose(places, DICTIONARY.places().numpy()[found.indices[:, :4]], atol=1e-5)
    np.testing.assert_allclose(atoms.parameters[..., 3], found.log_power[:, :4], atol=1e-5)


def test_the_likeliest_candidates_start_where_the_network_says() -> None:
    """Offsets are in cells, atoms stay in the field of view, and improbable candidates are inactive."""
    found = some_candidates(3)
    offsets = np.zeros((2, 3, 3), np.float32)
    offsets[:, 2] = (0.4, -0.3, 0.2)
    offsets[:, 1] = (-99.0, 99.0, 99.0)
    start = Start(tf.constant([[-5.0, 1.0, 2.0]] * 2), tf.constant(offsets), tf.constant([[0.0, 0.0, 0.5]] * 2))
    atoms = started_atoms(found, start, NOISE, DICTIONARY, 3, 0.15)
    np.testing.assert_array_equal(atoms.active, [[True, True, False]] * 2)
    parameters = atoms.parameters.numpy()
    places = np.stack([np.sin(parameters[..., 0]), np.sin(parameters[..., 1]), parameters[..., 2]], -1)
    centres = DICTIONARY.places().numpy()[found.indices]
    low, high = DICTIONARY.edges()
    expected = np.clip(centres[:, 2] + offsets[:, 2] * DICTIONARY.cell_size(), low, high)
    np.testing.assert_allclose(places[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(parameters[:, 0, 3], found.log_power[:, 2] + 0.5, atol=1e-5)
    assert np.all((places >= low - 1e-6) & (places <= high + 1e-6))
    nearest = np.abs(places[:, 1] - centres[:, 1]) / DICTIONARY.cell_size()
    assert np.all(nearest < 1.5 + 1e-4)


def test_a_candidate_that_is_not_there_never_starts() -> None:
    found = some_candidates(3)
    found = found._replace(valid=tf.constant([[True, False, True]] * 2))
    start = Start(tf.constant([[0.0, 9.0, 0.0]] * 2), tf.zeros([2, 3, 3]), tf.zeros([2, 3]))
    np.testing.assert_array_equal(started_atoms(found, start, NOISE, DICTIONARY, 3, 0.15).active, [[1, 1, 0]] * 2)


def test_weights_of_before_are_refused_in_one_line(tmp_path: Path) -> None:
    """A file without settings of the start network, as in earlier versions."""
    new, old = tmp_path / "new.keras", tmp_path / "old.keras"
    LocalizerWeights(Backbone(config=TINY)).save(new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                whole = json.loads(content)
                del whole["config"]["backbone"]["config"]["config"]["start"]
                content = json.dumps(whole).encode()
            target.writestr(name, content)
    with pytest.raises(ValueError, match=r"old\.keras: expected the settings of a LocalizerWeights of this version"):
        load_weights(old)


def test_the_order_of_the_candidates_means_nothing() -> None:
    """The outputs of a trained network are permuted like its candidates."""
    network = StartNetwork(StartConfig(width=8))
    rng = np.random.default_rng(3)
    network.readout.kernel.assign(rng.normal(size=network.readout.kernel.shape))
    found = some_candidates(5)
    order = np.array([3, 0, 4, 1, 2])
    shuffled = Candidates(*(tf.gather(values, order, axis=1) for values in found))
    shuffled = shuffled._replace(relations=tf.gather(shuffled.relations, order, axis=2))
    for plain, again in zip(network(found), network(shuffled), strict=True):
        assert np.ptp(plain) > 0.01
        np.testing.assert_allclose(again, plain.numpy()[:, order], atol=1e-5)
