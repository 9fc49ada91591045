"""Mirror symmetry: the fast dictionary products equal the dense ones, and the parity basis meets its definition."""

import numpy as np
import pytest
import tensorflow as tf

from models.covariance_estimator.config import GridConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.symmetry import SIGNS, is_mirrored, parity_basis
from models.physics.geometry import FieldOfView, RISArray
from tests.references.steering import steering_vector

ODD_AND_EVEN = GridConfig(6, 5, 3)


def test_basis_is_orthonormal_and_mirror_images_differ_in_signs() -> None:
    array = RISArray(8, 6)
    basis = parity_basis(array)
    np.testing.assert_allclose(basis @ basis.T, np.eye(array.num_elements), atol=1e-6)
    images = [(0.4, 0.2), (-0.4, 0.2), (0.4, -0.2), (-0.4, -0.2)]
    parts = [(basis @ steering_vector(phi, theta, 1.7, array)).reshape(4, -1) for phi, theta in images]
    for signs, part in zip(SIGNS, parts, strict=True):
        np.testing.assert_allclose(part, signs[:, None] * parts[0], atol=1e-6)


@pytest.mark.parametrize(
    ("array", "view", "mirrored"),
    [
        (RISArray(6, 4), FieldOfView(), True),
        (RISArray(6, 4, amplitude="spherical", element_exponent=1.0), FieldOfView(), True),
        (RISArray(6, 4, index_offset=-0.5), FieldOfView(), False),
        (RISArray(5, 4), FieldOfView(), False),
        (RISArray(6, 4), FieldOfView(azimuth_deg=(-50.0, 60.0)), False),
    ],
)
def test_products_of_a_batch_equal_their_definition(array: RISArray, view: FieldOfView, mirrored: bool) -> None:
    assert is_mirrored(array, view) == mirrored
    dictionary = PolarDictionary(array, view, ODD_AND_EVEN)
    rng = np.random.default_rng(4)
    z = (rng.normal(size=(19, 7, array.num_elements, 2)) @ [1, 1j]).astype(np.complex64)
    axes = zip(dictionary.azimuth.numpy(), dictionary.elevation.numpy(), dictionary.inverse_range.numpy(), strict=True)
    points = np.array([steering_vector(phi, theta, 1 / w, array) for phi, theta, w in axes])
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    power = np.sum(np.abs(np.einsum("gn,bsn->bsg", points.conj(), z)) ** 2, axis=1)
    np.testing.assert_allclose(dictionary.beam_power(tf.constant(z)), power, rtol=1e-3, atol=1e-4)
    matrix = np.einsum("bsn,bsm->bnm", z, z.conj())
    np.testing.assert_allclose(dictionary.quadratic_form(tf.constant(matrix)), power, rtol=1e-3, atol=1e-3)
