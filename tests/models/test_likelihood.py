"""The likelihood of the paths of one scene against its definition in complex128."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.likelihood import (
    Evaluation,
    atom_evaluation,
    error_covariance,
    evaluate,
    of_direct_paths,
)
from models.covariance_estimator.paths import Paths
from models.physics.geometry import RISArray
from models.physics.observation import Observation, observe
from tests.references import likelihood as reference_of_atoms
from tests.references import paths as reference
from tests.references.likelihood import derivatives, fisher_information

ARRAY = RISArray(4, 3)
NUM_SNAPSHOTS, NUM_ANTENNAS = 9, 5
FIRST = [0.3, -0.2, 0.5, -0.4, 0.0]
SECOND = [0.1, 0.1, 0.4, 0.0, 0.0]
THIRD = [-0.6, 0.3, 1.2, -1.5, 0.0]
REFLECTED = [[1.1, 0.0, 0.1, -1.0, 0.7], [-0.4, 0.6, 0.2, -1.5, 1.9], [-0.2, -1.0, 0.05, -2.0, -2.5]]


class Scene(NamedTuple):
    """Parameters [P, 5] and sources of paths as in `Paths`, the direct ones first."""

    parameters: np.ndarray
    source: list[int]
    noise_power: float

    @property
    def num_sources(self) -> int:
        return len(set(self.source))

    @property
    def point(self) -> np.ndarray:
        """The D free parameters in the order of `Evaluation.gradient`."""
        return np.append(self.parameters[:, :4].T.ravel(), self.parameters[self.num_sources :, 4])

    def at(self, point: np.ndarray) -> "Scene":
        """The scene with other free parameters."""
        count = len(self.source)
        phases = np.append(np.zeros(self.num_sources), point[4 * count :])
        return self._replace(parameters=np.column_stack([point[: 4 * count].reshape(4, count).T, phases]))

    def without(self, *left_out: int) -> "Scene":
        """The scene without some paths."""
        kept = [number for number in range(len(self.source)) if number not in left_out]
        return self._replace(
            parameters=self.parameters[kept], source=[kept.index(self.source[number]) for number in kept]
        )

    def paths(self) -> Paths:
        source = tf.constant(self.source, tf.int32, [len(self.source)])
        return Paths(tf.constant(self.parameters, tf.float32), source, tf.constant(self.noise_power, tf.float32))

    def covariances(self, operator: np.ndarray) -> np.ndarray:
        number = self.num_sources
        sources, reflected = self.parameters[:number, :4], self.parameters[number:]
        return reference.covariances(sources, reflected, self.source[number:], self.noise_power, operator, ARRAY)

    def nll(self, operator: np.ndarray, snapshots: np.ndarray) -> float:
        number = self.num_sources
        sources, reflected = self.parameters[:number, :4], self.parameters[number:]
        return reference.nll(sources, reflected, self.source[number:], self.noise_power, operator, snapshots, ARRAY)


SCENES = {
    "one source": Scene(np.array([FIRST]), [0], 0.2),
    "two sources": Scene(np.array([FIRST, THIRD]), [0, 1], 0.2),
    "three sources": Scene(np.array([FIRST, SECOND, THIRD]), [0, 1, 2], 0.5),
    "two reflections of one source": Scene(np.array([FIRST, THIRD, *REFLECTED[::2]]), [0, 1, 1, 1], 0.3),
    "reflections of two sources": Scene(np.array([FIRST, SECOND, THIRD, *REFLECTED]), [0, 1, 2, 2, 0, 2], 0.3),
    "more sources than antennas": Scene(
        np.array([FIRST, SECOND, THIRD, *([*path[:4], 0.0] for path in REFLECTED), [0.8, -0.1, 1.7, -2.0, 0.0]]),
        list(range(7)),
        0.5,
    ),
    "no source": Scene(np.zeros([0, 5]), [], 0.4),
}


@pytest.fixture(scope="module")
def observation() -> Observation:
    rng = np.random.default_rng(5)
    size = ARRAY.num_elements
    shapes = [(1, NUM_SNAPSHOTS, NUM_ANTENNAS), (1, NUM_SNAPSHOTS, size), (1, NUM_ANTENNAS, size)]
    snapshots, codes, channel = (rng.normal(size=(*shape, 2)) @ [1, 1j] for shape in shapes)
    codes /= np.abs(codes)
    arrays = (tf.constant(x, tf.complex64) for x in (snapshots, codes, channel))
    return observe(*arrays, tf.constant([3.0])).scene(0)


@pytest.fixture(scope="module")
def data(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Operator and snapshots in complex128."""
    return observation.operator.numpy().astype(np.complex128), observation.snapshots.numpy().astype(np.complex128)


@pytest.fixture(scope="module", params=SCENES.values(), ids=SCENES.keys())
def scene(request: pytest.FixtureRequest) -> Scene:
    return request.param


@pytest.fixture(scope="module")
def evaluation(observation: Observation, scene: Scene) -> Evaluation:
    return evaluate(observation, scene.paths(), ARRAY)


def test_value(evaluation: Evaluation, scene: Scene, data) -> None:
    assert float(evaluation.nll) == pytest.approx(scene.nll(*data), rel=1e-5)
    if len(scene.source) == scene.num_sources:
        atoms = reference_of_atoms.nll(scene.parameters[:, :4], scene.noise_power, *data, ARRAY)
        assert float(evaluation.nll) == pytest.approx(atoms, rel=1e-5)


def test_gradient_is_the_slope(evaluation: Evaluation, scene: Scene, data) -> None:
    """With respect to positions and powers of all paths, phases of the reflected ones, and the noise power."""
    slope = derivatives(lambda point: scene.at(point).nll(*data), scene.point)
    np.testing.assert_allclose(evaluation.gradient, slope, rtol=1e-3, atol=1e-3)
    noise_slope = derivatives(
        lambda x: scene._replace(noise_power=np.exp(x[0])).nll(*data), np.log([scene.noise_power])
    )
    assert float(evaluation.noise_gradient) == pytest.approx(noise_slope[0], rel=1e-3)


def test_fisher_information_is_the_trace_formula(evaluation: Evaluation, scene: Scene, data) -> None:
    covariance = scene.covariances(data[0])
    noise_slope = scene.noise_power * np.eye(NUM_ANTENNAS) * np.ones((1, NUM_SNAPSHOTS, 1, 1))
    noise_fisher = fisher_information(noise_slope, covariance)[0, 0]
    assert float(evaluation.noise_fisher) == pytest.approx(noise_fisher, rel=1e-4)
    assert evaluation.fisher.shape == (len(scene.point), len(scene.point))
    if scene.num_sources:
        slopes = derivatives(lambda point: scene.at(point).covariances(data[0]), scene.point)
        expected = fisher_information(slopes, covariance)
        np.testing.assert_allclose(evaluation.fisher, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())


def test_log_likelihood_ratios_are_what_removing_a_source_or_a_path_costs(
    evaluation: Evaluation, scene: Scene, data
) -> None:
    """A source is removed with all its paths."""
    whole, number = scene.nll(*data), scene.num_sources
    of_source = [[path for path, its in enumerate(scene.source) if its == source] for source in range(number)]
    costs = [scene.without(*paths).nll(*data) - whole for paths in of_source]
    np.testing.assert_allclose(evaluation.llr, costs, rtol=1e-3, atol=1e-3)
    costs = [scene.without(path).nll(*data) - whole for path in range(number, len(scene.source))]
    np.testing.assert_allclose(evaluation.path_llr, costs, rtol=1e-3, atol=1e-3)


def test_symbols_are_posterior_means(evaluation: Evaluation, scene: Scene, data) -> None:
    """Posterior mean: C B^H y / sigma^2 with C = (B^H B / sigma^2 + I)^-1. Certainty: one minus the diagonal of C."""
    operator, snapshots = data
    columns = np.zeros([ARRAY.num_elements, scene.num_sources], complex)
    for (*place, power, phase), source in zip(scene.parameters, scene.source, strict=True):
        vector = reference.steering_vector(*place[:2], 1.0 / place[2], ARRAY)
        columns[:, source] += np.exp(0.5 * power + 1j * phase) * vector
    response = operator @ columns
    np.testing.assert_allclose(evaluation.sources, response.mT, rtol=1e-3, atol=1e-4)
    inverse = np.linalg.inv(response.conj().mT @ response / scene.noise_power + np.eye(scene.num_sources))
    symbols = (inverse @ response.conj().mT @ snapshots[..., None] / scene.noise_power)[..., 0]
    np.testing.assert_allclose(evaluation.symbols_c.numpy().conj(), symbols, rtol=1e-3, atol=1e-4)
    certainty = 1.0 - np.diagonal(inverse, axis1=1, axis2=2).real
    np.testing.assert_allclose(evaluation.certainty(tf.constant(scene.noise_power)), certainty, rtol=1e-3, atol=1e-5)


def test_residual_and_energy_are_the_inverse_covariance_applied(evaluation: Evaluation, scene: Scene, data) -> None:
    """S^-1 y and x^H S^-1 x."""
    inverse = np.linalg.inv(scene.covariances(data[0]))
    expected = np.einsum("lmn,ln->lm", inverse, data[1])
    residual = evaluation.residual / np.float32(scene.noise_power)
    np.testing.assert_allclose(residual, expected, atol=1e-3 * np.abs(expected).max())
    rows = np.random.default_rng(0).normal(size=(NUM_SNAPSHOTS, 4, NUM_ANTENNAS, 2)) @ [1, 1j]
    energy = np.einsum("ljm,lmn,ljn->lj", rows.conj(), inverse, rows).real
    found = evaluation.energy(tf.constant(rows, tf.complex64), tf.constant(scene.noise_power))
    np.testing.assert_allclose(found, energy, rtol=1e-3, atol=1e-4 * np.max(energy))


def test_the_bound_of_a_direct_path_has_all_others_as_nuisance(evaluation: Evaluation, scene: Scene) -> None:
    """The blocks of the inverse of the whole Fisher information. `of_direct_paths` loads phases by 1/1000."""
    number, count = scene.num_sources, len(scene.source)
    fisher = evaluation.fisher.numpy().astype(np.float64)
    direct = (np.arange(4)[:, None] * count + np.arange(number)).ravel()
    own = of_direct_paths(evaluation, scene.paths())
    assert own.shape == (4 * number, 4 * number)
    nuisance = np.setdiff1d(np.arange(len(fisher)), direct)
    loaded = fisher[np.ix_(nuisance, nuisance)] * (1.0 + 1e-3 * np.eye(len(nuisance)))
    cross = fisher[np.ix_(direct, nuisance)]
    expected = fisher[np.ix_(direct, direct)] - cross @ np.linalg.solve(loaded, cross.T)
    np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-4 * np.abs(fisher).max(initial=0.0))
    diagonal = np.diag(np.diag(expected))
    inverse = np.linalg.inv(expected + 1e-5 * diagonal).reshape(4, number, 4, number)
    blocks = [inverse[:, source, :, source] for source in range(number)]
    found = error_covariance(tf.constant(expected, tf.float32), number)
    for block, its in zip(blocks, found, strict=True):
        scale = np.sqrt(np.diag(block))
        np.testing.assert_allclose(its / np.outer(scale, scale), block / np.outer(scale, scale), atol=2e-2)


@pytest.mark.parametrize("slots", [2, 8])
def test_atoms_in_slots_have_the_evaluation_of_the_direct_paths(
    evaluation: Evaluation, scene: Scene, slots: int
) -> None:
    """Sources that find no slot are nuisance parameters that are left out; spare slots are zero."""
    llr, fisher = atom_evaluation(evaluation, scene.paths(), slots)
    used = min(slots, scene.num_sources)
    assert llr.shape == (1, slots) and fisher.shape == (1, 4 * slots, 4 * slots)
    np.testing.assert_array_equal(llr[0], np.pad(evaluation.llr[:used], [0, slots - used]))
    whole = of_direct_paths(evaluation, scene.paths()).numpy()
    whole = whole.reshape(4, scene.num_sources, 4, scene.num_sources)[:, :used, :, :used]
    expected = np.zeros((4, slots, 4, slots))
    expected[:, :used, :, :used] = whole
    np.testing.assert_array_equal(fisher[0], expected.reshape(4 * slots, 4 * slots))


@pytest.mark.parametrize("snr_db", [30.0, 50.0])
@pytest.mark.parametrize("name", ["two sources", "two reflections of one source"])
def test_single_precision_is_enough_at_a_high_snr(observation: Observation, name: str, snr_db: float) -> None:
    """The gradient is exact to a fraction of its own standard deviation, F^1/2, at the truth and nearby."""
    scene = SCENES[name]._replace(noise_power=10.0 ** (-snr_db / 10.0))
    rng = np.random.default_rng(2)
    operator = observation.operator.numpy().astype(np.complex128)
    white = rng.normal(size=(NUM_SNAPSHOTS, NUM_ANTENNAS, 2)) @ [1, 1j] / np.sqrt(2.0)
    snapshots = np.einsum("lmn,ln->lm", np.linalg.cholesky(scene.covariances(operator)), white)
    observation = observation._replace(snapshots=tf.constant(snapshots, tf.complex64))
    snapshots = observation.snapshots.numpy().astype(np.complex128)
    for offset in (0.0, 0.3, 3.0):
        found = evaluate(observation, scene.paths(), ARRAY)
        deviation = np.sqrt(np.diag(found.fisher))
        moved = scene.at(scene.point + offset * rng.normal(size=scene.point.shape) / deviation)
        moved = moved._replace(parameters=moved.parameters.astype(np.float32).astype(np.float64))
        found = evaluate(observation, moved.paths(), ARRAY)
        slope = derivatives(lambda point: moved.at(point).nll(operator, snapshots), moved.point)  # noqa: B023
        np.testing.assert_allclose(found.gradient / deviation, slope / deviation, rtol=5e-3, atol=0.1)
        np.testing.assert_allclose(found.nll, moved.nll(operator, snapshots), rtol=1e-3, atol=0.1)
