"""The normalised measurement: products with the sensing matrices against their definition."""

import numpy as np
import pytest
import tensorflow as tf

from models.physics.observation import Observation, observe

SCENES, NUM_SNAPSHOTS, NUM_ANTENNAS, NUM_ELEMENTS = 3, 7, 5, 12


def draw(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(len(shape) + sum(shape))
    return (rng.normal(size=(*shape, 2)) @ [1, 1j]).astype(np.complex64)


@pytest.fixture(scope="module")
def observation() -> Observation:
    """Codes of different moduli, as elements with different gains have."""
    shapes = [(NUM_SNAPSHOTS, NUM_ANTENNAS), (NUM_SNAPSHOTS, NUM_ELEMENTS), (NUM_ANTENNAS, NUM_ELEMENTS)]
    return observe(*(tf.constant(draw(SCENES, *shape)) for shape in shapes), tf.constant([3.0, 8.0, 60.0]))


def close(found: tf.Tensor, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_columns_are_the_sensing_matrices(observation: Observation) -> None:
    operator = observation.operator.numpy()
    close(observation.operator, np.einsum("bmn,bln->blmn", observation.channel, observation.ris_codes))
    parts = np.concatenate([operator.real, operator.imag], axis=-1)  # [B, L, M, 2N]
    close(observation.columns, parts.transpose(0, 3, 2, 1).reshape(SCENES, 2 * NUM_ELEMENTS, -1))


def test_responses(observation: Observation) -> None:
    rows = draw(SCENES, 4, NUM_ELEMENTS)
    expected = np.einsum("blmn,bjn->bljm", observation.operator, rows)
    close(observation.respond(tf.constant(rows)), expected)
    for number in range(SCENES):
        close(observation.scene(number).respond(tf.constant(rows[number])), expected[number])


def test_back_projection_is_the_adjoint(observation: Observation) -> None:
    adjoint = observation.operator.numpy().conj()
    values = draw(SCENES, NUM_SNAPSHOTS, NUM_ANTENNAS)
    expected = np.einsum("blmn,blm->bln", adjoint, values)
    close(observation.back_project(tf.constant(values)), expected)
    many = draw(NUM_SNAPSHOTS, 4, NUM_ANTENNAS)
    for number in range(SCENES):
        scene = observation.scene(number)
        close(scene.back_project(tf.constant(values[number])), expected[number])
        sums = np.einsum("lmn,ljm->jn", adjoint[number], many)
        close(scene.back_project_sum(tf.constant(many)), sums)


def test_nothing_in_nothing_out(observation: Observation) -> None:
    """A scene without sources has no rows."""
    scene = observation.scene(0)
    assert scene.respond(tf.zeros([0, NUM_ELEMENTS], tf.complex64)).shape == (NUM_SNAPSHOTS, 0, NUM_ANTENNAS)
    rows = tf.zeros([NUM_SNAPSHOTS, 0, NUM_ANTENNAS], tf.complex64)
    assert scene.back_project_sum(rows).shape == (0, NUM_ELEMENTS)


def test_powers_are_relative_to_the_received_power(observation: Observation) -> None:
    for values in (observation.snapshots, observation.channel):
        np.testing.assert_allclose(np.mean(np.abs(values) ** 2, axis=(1, 2)), 1.0, rtol=1e-5)
    np.testing.assert_allclose(observation.noise_power, [1 / (1 + 10**0.3), 1 / (1 + 10**0.8), 1e-5], rtol=1e-5)
