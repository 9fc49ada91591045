"""Statistics of scenes against their definitions, identities and Monte Carlo simulation."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.atoms import Atoms
from models.physics.geometry import FieldOfView, RISArray
from models.physics.observation import observe
from pipeline.calibrate.channel import channel_statistics
from pipeline.calibrate.solution import as_real
from pipeline.calibrate.statistics import prior_precision, scene_statistics
from tests.references.calibration import ReferenceScene

ARRAY, VIEW = RISArray(4, 3), FieldOfView()
ANTENNAS, SNAPSHOTS, SOURCES = 5, 7, 2


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Scenes with one g and their true sources, in the units of the model."""

    inputs: tuple[np.ndarray, ...]
    parameters: np.ndarray
    noise_power: np.ndarray
    response: np.ndarray

    @property
    def atoms(self) -> Atoms:
        return Atoms(
            tf.constant(self.parameters), tf.ones(self.parameters.shape[:2], tf.bool), tf.constant(self.noise_power)
        )

    def statistics(self, response: np.ndarray):
        precision = np.tile(prior_precision(VIEW, SOURCES), (len(self.parameters), 1))
        return scene_statistics(
            observe(*map(tf.constant, self.inputs)), tf.constant(response), self.atoms, tf.constant(precision), ARRAY
        )

    def references(self) -> list[ReferenceScene]:
        observation = observe(*map(tf.constant, self.inputs))
        return [
            ReferenceScene(
                *(x.numpy()[i] for x in observation[:3]), self.parameters[i], np.log(self.noise_power[i]), ARRAY
            )
            for i in range(len(self.parameters))
        ]


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.sqrt(0.5) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def draw(num_scenes: int, seed: int = 0, snr_db: float = 10.0) -> Drawn:
    """Scenes whose snapshots follow the likelihood exactly."""
    rng = np.random.default_rng(seed)
    response = (1.0 + 0.3 * _normal(rng, ARRAY.num_elements)).astype(np.complex64)
    shape = (num_scenes, SOURCES)
    places = [rng.uniform(-0.8, 0.8, shape), rng.uniform(-0.4, 0.4, shape), rng.uniform(0.2, 1.5, shape)]
    parameters = np.stack([*places, rng.uniform(-1.0, 0.0, shape)], axis=-1).astype(np.float32)
    channel = _normal(rng, num_scenes, ANTENNAS, ARRAY.num_elements)
    channel /= np.sqrt(np.mean(np.abs(channel) ** 2, axis=(1, 2), keepdims=True))
    codes = np.exp(2j * np.pi * rng.random((num_scenes, SNAPSHOTS, ARRAY.num_elements)))
    noise_power = np.full(num_scenes, 10 ** (-snr_db / 10), np.float32)
    snapshots = []
    for i in range(num_scenes):
        empty = ReferenceScene(np.zeros((SNAPSHOTS, ANTENNAS)), codes[i], channel[i], parameters[i], 0.0, ARRAY)
        symbols = _normal(rng, SNAPSHOTS, SOURCES)
        clean = np.einsum("lmk,lk->lm", empty.responses(response), symbols)
        snapshots.append(clean + np.sqrt(noise_power[i]) * _normal(rng, SNAPSHOTS, ANTENNAS))
    stacked = np.stack(snapshots)
    rms = np.sqrt(np.mean(np.abs(stacked) ** 2, axis=(1, 2)))  # observe divides by it, so the powers do too
    parameters[..., 3] -= 2 * np.log(rms)[:, None]
    noise_power /= rms.astype(np.float32) ** 2
    inputs = (stacked, codes, channel)
    return Drawn(
        (*(x.astype(np.complex64) for x in inputs), np.full(num_scenes, snr_db, np.float32)),
        parameters,
        noise_power,
        response,
    )


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return draw(3)


def test_likelihood_and_gradient(drawn: Drawn) -> None:
    """The gradient by conj(g) equals finite differences of the marginal likelihood."""
    found = drawn.statistics(drawn.response)
    references = drawn.references()
    np.testing.assert_allclose(found.nll, [scene.nll(drawn.response) for scene in references], rtol=1e-5)
    step = 1e-4
    for element in (0, 5, 11):
        unit = np.zeros(ARRAY.num_elements)
        unit[element] = step
        for part, direction in ((np.real, unit), (np.imag, 1j * unit)):
            slope = sum(
                scene.nll(drawn.response + direction) - scene.nll(drawn.response - direction) for scene in references
            )
            assert 2 * part(found.gradient.numpy()[element]) == pytest.approx(-slope / (2 * step), rel=1e-3, abs=2e-2)


def test_efficient_score_and_information(drawn: Drawn) -> None:
    """Both equal the Schur complement of the full information with respect to sources and noise power."""
    found = drawn.statistics(drawn.response)
    size = 2 * ARRAY.num_elements
    information = 0.0
    for number, scene in enumerate(drawn.references()):
        score, whole = scene.score_and_information(drawn.response)
        whole[size:, size:] += np.diag(prior_precision(VIEW, SOURCES))
        to_theta = np.linalg.solve(whole[size:, size:], whole[size:, :size]).T
        efficient = score[:size] - to_theta @ score[size:]
        np.testing.assert_allclose(found.score[number], efficient, atol=2e-4 * np.abs(efficient).max())
        information = information + whole[:size, :size] - to_theta @ whole[size:, :size]
    np.testing.assert_allclose(found.information, information, atol=1e-4 * np.abs(information).max())


def test_expectation_step(drawn: Drawn) -> None:
    """T equals a sum over snapshots; Fisher's identity b = e + T g holds."""
    found = drawn.statistics(drawn.response)
    complete, right = (
        sum(parts) for parts in zip(*(s.expectation(drawn.response) for s in drawn.references()), strict=True)
    )
    np.testing.assert_allclose(found.complete, complete, atol=1e-4 * np.abs(complete).max())
    own = found.gradient.numpy() + complete @ drawn.response
    np.testing.assert_allclose(own, right, atol=2e-4 * np.abs(right).max())


def test_expectation_maximisation_never_lowers_the_likelihood(drawn: Drawn) -> None:
    """The theorem of Dempster, Laird and Rubin, from a distant start, with fixed sources."""
    references = drawn.references()
    response = np.exp(1j * np.linspace(0, 5, ARRAY.num_elements)).astype(np.complex64)
    values = [sum(scene.nll(response) for scene in references)]
    for _ in range(8):
        found = drawn.statistics(response)
        response = response + np.linalg.solve(found.complete.numpy().astype(complex), found.gradient.numpy())
        response = response.astype(np.complex64)
        values.append(sum(scene.nll(response) for scene in references))
    assert (np.diff(values) < 1e-3).all()
    assert values[-1] < values[0] - 1.0


def test_common_factor_is_not_observable(drawn: Drawn) -> None:
    """A factor of g that the sources' powers cancel leaves likelihood and score unchanged and has no information."""
    factor = np.complex64(0.5 * np.exp(1.2j))
    scaled = dataclasses.replace(drawn, parameters=drawn.parameters - np.float32([0, 0, 0, 2 * np.log(0.5)]))
    before, after = drawn.statistics(drawn.response), scaled.statistics((factor * drawn.response).astype(np.complex64))
    np.testing.assert_allclose(after.nll, before.nll, rtol=1e-5)
    gauge = as_real(1j * drawn.response.astype(complex))
    information = before.information.numpy().astype(float)
    typical = np.trace(information) / len(information)
    assert abs(gauge @ information @ gauge) / (gauge @ gauge) < 1e-3 * typical
    size = as_real(drawn.response.astype(complex))
    assert size @ information @ size / (size @ size) < 5e-2 * typical  # from the prior of the powers


def test_phase_ramp_is_barely_observable() -> None:
    """With far sources, a shift of all angles cancels it."""
    drawn = draw(4)
    far = dataclasses.replace(
        drawn, parameters=drawn.parameters * np.float32([1, 1, 0, 1]) + np.float32([0, 0, 1e-3, 0])
    )
    information = far.statistics(drawn.response).information.numpy().astype(float)
    y = ARRAY.element_positions_m()[:, 0]
    ramp = as_real(1j * (y - y.mean()) * drawn.response.astype(complex))
    rng = np.random.default_rng(0)
    other = as_real(1j * rng.standard_normal(y.size) * drawn.response.astype(complex))

    def seen(direction: np.ndarray) -> float:
        return direction @ information @ direction / (direction @ direction)

    assert seen(ramp) < 0.02 * seen(other)


def test_scores_have_the_information_as_covariance() -> None:
    """At the truth, the scores of drawn scenes have mean zero and the information as covariance. Standard errors from
    the information are therefore those of repeated measurements."""
    drawn = draw(300, seed=3)
    found = drawn.statistics(drawn.response)
    values, vectors = np.linalg.eigh(found.information.numpy().astype(float))
    chosen = values > 0.02 * values[-1]  # the prior of theta lowers the scores of the other directions
    whitened = found.score.numpy().astype(float) @ vectors[:, chosen] / np.sqrt(values[chosen] / len(drawn.parameters))
    assert np.mean(whitened**2) == pytest.approx(1.0, abs=0.08)
    assert np.mean(whitened.sum(axis=0) ** 2) / len(whitened) == pytest.approx(1.0, abs=0.75)


def test_channel_score(drawn: Drawn) -> None:
    """The gradient by the channel equals finite differences of the marginal likelihood."""
    observation = observe(*map(tf.constant, drawn.inputs))
    _, score, information = channel_statistics(observation, tf.constant(drawn.response), drawn.atoms, ARRAY)
    references = drawn.references()
    step = 1e-4
    for antenna, element in ((0, 0), (3, 7)):
        for part, unit in ((np.real, step), (np.imag, 1j * step)):
            slope = 0.0
            for scene in references:
                values = []
                for sign in (1, -1):
                    scene.channel[antenna, element] += sign * unit
                    values.append(scene.nll(drawn.response))
                    scene.channel[antenna, element] -= sign * unit
                slope += values[0] - values[1]
            got = 2 * part(score.numpy()[antenna, element])
            assert got == pytest.approx(-slope / (2 * step), rel=1e-3, abs=2e-2)
    assert np.linalg.eigvalsh(information.numpy()).min() > -1e-3
