"""The near-field steering vector and its derivatives. Everything else uses this definition.

    a_n = (r / |q - p_n|)^[amplitude] (cos psi_n)^e exp(j k0 (r - |q - p_n|)) / sqrt(N)

The reference is an isotropic element at the centre of the surface: the source power p_k is the power received there and
includes the path loss. With the default array, of uniform amplitude and isotropic elements, all moduli are 1 / sqrt(N).
"""

from typing import NamedTuple

import tensorflow as tf

from models.physics.geometry import RISArray

_LEAST_COSINE = 1e-3  # limit for sources in the plane of the surface or behind it


class _Paths(NamedTuple):
    """Geometry from a source to the elements, with u the unit vector to the source and w = 1/r.

    delta: r - |q - p_n|, metres, exact or in the Fresnel approximation, [..., N].
    distance: s = |u - w p| = |q - p| / r, exact, [..., N].
    phase_distance: s of the phase: 1 in the Fresnel approximation, [..., N].
    projection: p . u, metres, [..., N].
    y, z: element positions, metres, [N].
    norm2: |p_n|^2, m^2, [N].
    w: 1/r, 1/m, [..., 1].
    """

    delta: tf.Tensor
    distance: tf.Tensor
    phase_distance: tf.Tensor
    projection: tf.Tensor
    y: tf.Tensor
    z: tf.Tensor
    norm2: tf.Tensor
    w: tf.Tensor


class _Direction(NamedTuple):
    """Sines and cosines of azimuth and elevation, [..., 1]."""

    sin_az: tf.Tensor
    cos_az: tf.Tensor
    sin_el: tf.Tensor
    cos_el: tf.Tensor


def _direction(azimuth: tf.Tensor, elevation: tf.Tensor) -> _Direction:
    azimuth, elevation = tf.expand_dims(azimuth, -1), tf.expand_dims(elevation, -1)
    return _Direction(tf.sin(azimuth), tf.cos(azimuth), tf.sin(elevation), tf.cos(elevation))


def _paths(to: _Direction, inverse_range: tf.Tensor, array: RISArray) -> _Paths:
    """delta_n = r - |q - p_n|, and the quantities that its derivatives need.

        delta = (1 - s) / w = (2 u.p - w |p|^2) / (1 + s),    s = |u - w p|

    The second form is accurate at long range, and w = 0 gives the far field. The Fresnel approximation sets s = 1:
    delta = u.p - w |p|^2 / 2.
    """
    dtype = to.sin_az.dtype
    y, z = array.element_positions_m().astype(dtype.as_numpy_dtype).T
    y, z, norm2 = tf.constant(y), tf.constant(z), tf.constant(y**2 + z**2)
    w = tf.expand_dims(inverse_range, -1)
    projection = to.sin_az * to.cos_el * y + to.sin_el * z
    distance = tf.sqrt(1.0 - 2.0 * w * projection + tf.square(w) * norm2)
    if array.wavefront == "fresnel":
        phase_distance = tf.ones_like(projection)
        delta = projection - 0.5 * w * norm2
    else:
        phase_distance = distance
        delta = (2.0 * projection - w * norm2) / (1.0 + distance)
    return _Paths(delta, distance, phase_distance, projection, y, z, norm2, w)


def _cosine(azimuth: tf.Tensor, elevation: tf.Tensor) -> tf.Tensor:
    """cos phi cos theta, [..., 1]: the factor of cos psi_n = cos phi cos theta / s that all elements share."""
    return tf.maximum(tf.cos(azimuth) * tf.cos(elevation), _LEAST_COSINE)[..., None]


def _distance_exponent(array: RISArray) -> float:
    """g in |a_n| ~ s^-g, from path loss and element pattern."""
    return array.element_exponent + (1.0 if array.amplitude == "spherical" else 0.0)


def _vectors(azimuth: tf.Tensor, elevation: tf.Tensor, paths: _Paths, array: RISArray) -> tf.Tensor:
    phase = array.wavenumber * paths.delta
    modulus = tf.constant(array.num_elements**-0.5, phase.dtype)
    if not array.has_unit_modulus:
        modulus *= paths.distance ** -_distance_exponent(array)
        modulus *= _cosine(azimuth, elevation) ** array.element_exponent
    return tf.complex(modulus * tf.cos(phase), modulus * tf.sin(phase))


def steering_vectors(azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray) -> tf.Tensor:
    """Steering vectors a, defined in the module's docstring: [...] -> [..., N] complex64 or complex128.

    Azimuth, elevation (radians) and inverse range (1/m) are float32 or float64. The norm is one if
    `array.has_unit_modulus`. The Fresnel form is equation (3) of Cui and Dai, "Channel estimation for extremely
    large-scale MIMO", 2022, extended to a plane; it approximates the phase only. docs/conventions.md defines the axes
    and the index order.
    """
    azimuth, elevation = tf.convert_to_tensor(azimuth), tf.convert_to_tensor(elevation)
    paths = _paths(_direction(azimuth, elevation), inverse_range, array)
    return _vectors(azimuth, elevation, paths, array)


def steering_jacobian(
    azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray
) -> tuple[tf.Tensor, tf.Tensor]:
    """Steering vectors and their derivatives with respect to azimuth, elevation and inverse range.

    da/dx = (d log|a|/dx + j k0 d delta/dx) a, with
        d delta/d phi = p . u_phi / s,    d delta/d theta = p . u_theta / s,
        d delta/d w = (delta^2 - |p|^2) / (2 s)    (Fresnel: s = 1 and no delta^2),
        ds/d phi = -w p . u_phi / s,    ds/d theta = -w p . u_theta / s,    ds/dw = (w |p|^2 - u . p) / s,
        log|a| = -([amplitude] + e) log s + e log(cos phi cos theta) - log(N) / 2.

    Returns a [..., N] and da [..., 3, N], complex64 or complex128; derivatives per radian, per radian and per 1/m.
    """
    azimuth, elevation = tf.convert_to_tensor(azimuth), tf.convert_to_tensor(elevation)
    to = _direction(azimuth, elevation)
    paths = _paths(to, inverse_range, array)
    vectors = _vectors(azimuth, elevation, paths, array)
    by_azimuth = to.cos_az * to.cos_el * paths.y
    by_elevation = to.cos_el * paths.z - to.sin_az * to.sin_el * paths.y
    curvature = paths.norm2 if array.wavefront == "fresnel" else paths.norm2 - tf.square(paths.delta)
    slopes = [part / paths.phase_distance for part in (by_azimuth, by_elevation, -0.5 * curvature)]
    of_phase = array.wavenumber * tf.stack(slopes, axis=-2)
    of_modulus = tf.zeros_like(of_phase)
    if not array.has_unit_modulus:
        of_modulus = _modulus_slopes(azimuth, elevation, by_azimuth, by_elevation, paths, array)
    return vectors, tf.complex(of_modulus, of_phase) * tf.expand_dims(vectors, -2)


def _modulus_slopes(
    azimuth: tf.Tensor,
    elevation: tf.Tensor,
    by_azimuth: tf.Tensor,
    by_elevation: tf.Tensor,
    paths: _Paths,
    array: RISArray,
) -> tf.Tensor:
    """Derivatives of log|a_n| [..., 3, N]; `by_azimuth` and `by_elevation` are p . u_phi and p . u_theta, [..., N]."""
    by_distance = -_distance_exponent(array) / tf.square(paths.distance)
    slopes = [
        -paths.w * by_azimuth * by_distance,
        -paths.w * by_elevation * by_distance,
        (paths.w * paths.norm2 - paths.projection) * by_distance,
    ]
    in_front = tf.cast(tf.cos(azimuth) * tf.cos(elevation) > _LEAST_COSINE, azimuth.dtype)
    tilt = [-array.element_exponent * in_front * tf.tan(angle) for angle in (azimuth, elevation)]
    tilt = tf.stack([*tilt, tf.zeros_like(in_front)], axis=-1)
    return tf.stack(slopes, axis=-2) + tilt[..., None]


def steering_norm2(azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray) -> tf.Tensor:
    """a^H a, [...] real: power that the surface receives per unit of source power; one for unit modulus."""
    azimuth = tf.convert_to_tensor(azimuth)
    if array.has_unit_modulus:
        return tf.ones_like(azimuth)
    return tf.reduce_sum(tf.abs(steering_vectors(azimuth, elevation, inverse_range, array)) ** 2, axis=-1)


def unit_norm_jacobian(
    azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray
) -> tuple[tf.Tensor, tf.Tensor]:
    """b = a / |a| and its derivatives db = (da - b Re(b^H da)) / |a|, in the shapes of `steering_jacobian`."""
    vectors, slopes = steering_jacobian(azimuth, elevation, inverse_range, array)
    if array.has_unit_modulus:
        return vectors, slopes
    to_unit = tf.cast(tf.math.rsqrt(tf.reduce_sum(tf.abs(vectors) ** 2, axis=-1)), vectors.dtype)
    vectors, slopes = vectors * to_unit[..., None], slopes * to_unit[..., None, None]
    along = tf.math.real(tf.reduce_sum(tf.math.conj(vectors)[..., None, :] * slopes, axis=-1))
    return vectors, slopes - vectors[..., None, :] * tf.cast(along, slopes.dtype)[..., None]


def source_positions_m(azimuth: tf.Tensor, elevation: tf.Tensor, range_m: tf.Tensor) -> tf.Tensor:
    """Cartesian positions q = r (cos theta cos phi, cos theta sin phi, sin theta): [...] -> [..., 3], metres.

    Azimuth and elevation are in radians, the range is in metres; all have the same real dtype.
    """
    return tf.stack(
        [
            range_m * tf.cos(elevation) * tf.cos(azimuth),
            range_m * tf.cos(elevation) * tf.sin(azimuth),
            range_m * tf.sin(elevation),
        ],
        axis=-1,
    )
