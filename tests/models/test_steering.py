"""Steering vectors and their derivatives against the slow reference and against known limits."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from models.physics.geometry import RISArray, Scenario
from models.physics.steering import (
    source_positions_m,
    steering_jacobian,
    steering_norm2,
    steering_vectors,
    unit_norm_jacobian,
)
from tests.references.steering import source_position_m, steering_vector

ARRAYS = {
    "spherical": RISArray(),
    "fresnel": RISArray(wavefront="fresnel"),
    "legacy": RISArray(wavefront="fresnel", index_offset=-0.5),
    "oblong": RISArray(num_horizontal=5, num_vertical=3, wavelength_m=0.1, spacing_m=0.04, index_offset=0.25),
    "amplitude": RISArray(amplitude="spherical"),
    "pattern": RISArray(amplitude="spherical", element_exponent=1.0),
    "pattern alone": RISArray(wavefront="fresnel", element_exponent=0.57),
}


def random_points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Azimuth, elevation and range in the field of view."""
    rng = np.random.default_rng(seed)
    view = Scenario().field_of_view
    azimuth, elevation, range_m = (
        rng.uniform(*limits, count) for limits in (view.azimuth, view.elevation, view.range_m)
    )
    return azimuth, elevation, range_m


def vectors_at(azimuth, elevation, inverse_range, array: RISArray, dtype=tf.float64) -> np.ndarray:
    return steering_vectors(*(tf.constant(x, dtype) for x in (azimuth, elevation, inverse_range)), array).numpy()


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_vectors_equal_the_reference(array: RISArray) -> None:
    azimuth, elevation, range_m = random_points(20, seed=1)
    expected = [steering_vector(*point, array) for point in zip(azimuth, elevation, range_m, strict=True)]
    np.testing.assert_allclose(vectors_at(azimuth, elevation, 1 / range_m, array), expected, atol=1e-12)


def test_vectors_keep_the_shape_and_dtype_of_the_coordinates() -> None:
    azimuth, elevation, range_m = random_points(6, seed=2)
    shaped = [x.reshape(2, 3) for x in (azimuth, elevation, 1 / range_m)]
    vectors = vectors_at(*shaped, RISArray(), dtype=tf.float32)
    assert vectors.dtype == np.complex64
    assert vectors.shape == (2, 3, 144)
    expected = vectors_at(azimuth, elevation, 1 / range_m, RISArray()).reshape(2, 3, 144)
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, atol=1e-6)


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_jacobian_equals_central_differences(array: RISArray) -> None:
    azimuth, elevation, range_m = random_points(10, seed=3)
    coordinates = np.stack([azimuth, elevation, 1 / range_m])
    vectors, jacobian = steering_jacobian(*(tf.constant(x, tf.float64) for x in coordinates), array)
    np.testing.assert_allclose(vectors, vectors_at(*coordinates, array), atol=1e-14)
    step = 1e-6
    for axis in range(3):
        shift = step * np.eye(3)[axis][:, None]
        difference = vectors_at(*(coordinates + shift), array) - vectors_at(*(coordinates - shift), array)
        np.testing.assert_allclose(jacobian[:, axis], difference / (2 * step), atol=1e-7)


@pytest.mark.parametrize("name", ["amplitude", "pattern", "pattern alone"])
def test_unit_norm_jacobian_is_that_of_the_normalised_vector(name: str) -> None:
    array = ARRAYS[name]
    azimuth, elevation, range_m = random_points(6, seed=6)
    coordinates = np.stack([azimuth, elevation, 1 / range_m])

    def unit(points: np.ndarray) -> np.ndarray:
        vectors = vectors_at(*points, array)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    vectors, jacobian = unit_norm_jacobian(*(tf.constant(x, tf.float64) for x in coordinates), array)
    np.testing.assert_allclose(vectors, unit(coordinates), atol=1e-14)
    for axis in range(3):
        shift = 1e-6 * np.eye(3)[axis][:, None]
        difference = unit(coordinates + shift) - unit(coordinates - shift)
        np.testing.assert_allclose(jacobian[:, axis], difference / 2e-6, atol=1e-7)


def test_unit_modulus_is_left_as_it_is_to_the_last_bit() -> None:
    points = [tf.constant(x, tf.float32) for x in random_points(8, seed=7)]
    for given, found in zip(
        steering_jacobian(*points, RISArray()), unit_norm_jacobian(*points, RISArray()), strict=True
    ):
        np.testing.assert_array_equal(given, found)
    np.testing.assert_array_equal(steering_norm2(*points, RISArray()), 1.0)


def test_amplitude_and_pattern_in_the_far_field() -> None:
    """All elements receive a distant source with the same amplitude; the pattern is cos^e of one direction."""
    azimuth, elevation, _ = random_points(10, seed=8)
    plain, spherical = (
        vectors_at(azimuth, elevation, np.zeros(10), ARRAYS[name]) for name in ("spherical", "amplitude")
    )
    np.testing.assert_allclose(spherical, plain, atol=1e-15)
    tilted = vectors_at(azimuth, elevation, np.zeros(10), RISArray(element_exponent=1.5))
    cosine = np.cos(azimuth) * np.cos(elevation)
    np.testing.assert_allclose(tilted, plain * cosine[:, None] ** 1.5, atol=1e-15)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_energy_is_the_flux_through_the_surface(exponent: float) -> None:
    """With cos^(1/2) elements p a^H a is the flux of a spherical wave through the aperture, a solid angle.

    On boresight of a W x W surface at distance r the solid angle is 4 arctan(W^2 / (2 r sqrt(4 r^2 + 2 W^2))), in units
    of W^2 / r^2. For other exponents the integral over the aperture is computed numerically.
    """
    array = RISArray(40, 40, spacing_m=0.0375, amplitude="spherical", element_exponent=exponent)
    width, range_m = 40 * 0.0375, 0.9
    found = float(steering_norm2(*(tf.constant(x, tf.float64) for x in (0.0, 0.0, 1 / range_m)), array))
    fine = (np.arange(2000) + 0.5) / 2000 * width - width / 2
    s2 = 1.0 + (fine[:, None] ** 2 + fine**2) / range_m**2
    assert found == pytest.approx(np.mean(s2 ** (-1.0 - exponent)), rel=1e-3)
    if exponent == 0.5:
        flux = 4 * np.arctan(width**2 / (2 * range_m * np.sqrt(4 * range_m**2 + 2 * width**2)))
        assert found == pytest.approx(flux * range_m**2 / width**2, rel=1e-3)


def test_nothing_reaches_the_back_of_an_element_with_a_pattern() -> None:
    array = RISArray(element_exponent=1.0)
    points = [tf.constant([x], tf.float64) for x in (np.radians(95.0), 0.1, 0.5)]
    vectors, slopes = steering_jacobian(*points, array)
    assert np.all(np.isfinite(slopes)) and np.max(np.abs(vectors)) < 2e-3 / 12


@pytest.mark.parametrize(("field", "value"), [("amplitude", "none"), ("element_exponent", -0.1)])
def test_bad_amplitudes_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"RISArray\.{field}: expected .*got "):
        RISArray(**{field: value})


def test_far_field_is_a_plane_wave() -> None:
    """At 1/r = 0 the phase is k0 u . p, and it converges smoothly, also in float32."""
    array = RISArray()
    azimuth, elevation, _ = random_points(10, seed=4)
    direction = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=-1)
    plane_wave = np.exp(1j * array.wavenumber * direction @ array.element_positions_m().T) / 12
    np.testing.assert_allclose(vectors_at(azimuth, elevation, np.zeros(10), array), plane_wave, atol=1e-12)
    np.testing.assert_allclose(vectors_at(azimuth, elevation, np.full(10, 1e-9), array), plane_wave, atol=1e-7)
    nearly_flat = vectors_at(azimuth, elevation, np.full(10, 1e-9), array, dtype=tf.float32)
    np.testing.assert_allclose(nearly_flat, plane_wave, atol=2e-6)


@pytest.mark.parametrize(("range_m", "correlation"), [(0.5, 0.24), (1.0, 0.66), (2.0, 0.95), (5.0, 0.997)])
def test_fresnel_fails_close_to_the_surface(range_m: float, correlation: float) -> None:
    """Known correlations at azimuth 17 and elevation 6 degrees. They are why the spherical wavefront is the default."""
    spherical = RISArray()
    fresnel = dataclasses.replace(spherical, wavefront="fresnel")
    point = [np.radians(17.0)], [np.radians(6.0)], [1 / range_m]
    measured = abs(np.vdot(vectors_at(*point, spherical), vectors_at(*point, fresnel)))
    assert measured == pytest.approx(correlation, abs=0.006)


def test_axes() -> None:
    """Boresight is +x, azimuth is positive towards +y, elevation towards +z; the element index runs along y first."""
    positions = source_positions_m(*(tf.constant(x, tf.float64) for x in random_points(5, seed=5)))
    expected = [source_position_m(*point) for point in zip(*random_points(5, seed=5), strict=True)]
    np.testing.assert_allclose(positions, expected, atol=1e-12)
    phase = np.angle(vectors_at([0.1, 0.0], [0.0, 0.1], [0.0, 0.0], RISArray())).reshape(2, 12, 12)
    towards_y, towards_z = phase[0], phase[1]
    assert np.all(np.diff(towards_y, axis=1) > 0)
    np.testing.assert_allclose(np.diff(towards_y, axis=0), 0.0, atol=1e-12)
    assert np.all(np.diff(towards_z, axis=0) > 0)
    np.testing.assert_allclose(np.diff(towards_z, axis=1), 0.0, atol=1e-12)


def test_source_at_the_centre_of_a_symmetric_surface_arrives_in_phase_with_the_centre() -> None:
    """On boresight the four middle elements are nearest; their phases are equal and the largest."""
    phase = np.unwrap(np.angle(vectors_at([0.0], [0.0], [1 / 3.0], RISArray())).reshape(12, 12)[5])
    np.testing.assert_allclose(phase, phase[::-1], atol=1e-12)
    assert np.argmax(phase) in (5, 6)
