"""The near-field steering vector, its one definition, and its derivatives.

Unit modulus is an assumption: elements are isotropic and the path loss across the surface is constant;
the source power p_k holds the path loss to the centre.
"""

import tensorflow as tf

from models.physics.geometry import RISArray


def _path_difference(azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray):
    """delta_n = r - |q - p_n| and what its derivatives need. All [..., N].

    With u the unit vector to the source, w = 1/r and s = |u - w p| = |q - p| / r,
        delta = (1 - s) / w = (2 u.p - w |p|^2) / (1 + s),
    which loses no digits at long range and has the far field as its limit w = 0. The Fresnel approximation is
    s = 1: delta = u.p - w |p|^2 / 2.
    """
    dtype = azimuth.dtype
    positions = tf.constant(array.element_positions_m(), dtype)
    y, z = positions[:, 0], positions[:, 1]
    azimuth, elevation, w = azimuth[..., None], elevation[..., None], inverse_range[..., None]
    norm2 = y**2 + z**2
    projection = tf.sin(azimuth) * tf.cos(elevation) * y + tf.sin(elevation) * z
    if array.wavefront == "fresnel":
        scaled_distance = tf.ones_like(projection)
        delta = projection - 0.5 * w * norm2
    else:
        scaled_distance = tf.sqrt(1.0 - 2.0 * w * projection + w**2 * norm2)
        delta = (2.0 * projection - w * norm2) / (1.0 + scaled_distance)
    return delta, scaled_distance, y, z, norm2


def _unit_phasor(phase: tf.Tensor, num_elements: int) -> tf.Tensor:
    scale = tf.cast(num_elements, phase.dtype) ** -0.5
    return tf.complex(scale * tf.cos(phase), scale * tf.sin(phase))


def steering_vectors(azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray) -> tf.Tensor:
    """Steering vectors a_n = exp(+j k0 (r - |q - p_n|)) / sqrt(N).

    Args:
      azimuth: [...], float32 or float64, radians.
      elevation: [...], as azimuth, radians.
      inverse_range: [...], as azimuth, 1/m.
      array: the surface.

    Returns:
      [..., N], complex64 or complex128, unit norm. docs/conventions.md has the axes and the index order; the
      Fresnel form is equation (3) of Cui and Dai, "Channel estimation for extremely large-scale MIMO", 2022,
      extended to a plane.
    """
    azimuth = tf.convert_to_tensor(azimuth)
    delta, *_ = _path_difference(azimuth, elevation, inverse_range, array)
    return _unit_phasor(tf.constant(array.wavenumber, delta.dtype) * delta, array.num_elements)


def steering_jacobian(
    azimuth: tf.Tensor, elevation: tf.Tensor, inverse_range: tf.Tensor, array: RISArray
) -> tuple[tf.Tensor, tf.Tensor]:
    """Steering vectors and their derivatives by azimuth, elevation and inverse range.

    da/dx = j k0 (d delta/dx) a, with
        d delta/d phi = p . u_phi / s,    d delta/d theta = p . u_theta / s,
        d delta/d w = (delta^2 - |p|^2) / (2 s)    (Fresnel: s = 1 and no delta^2).

    Args:
      azimuth, elevation, inverse_range, array: as for `steering_vectors`.

    Returns:
      a [..., N] and da [..., 3, N], complex: derivatives a radian, a radian and a 1/m.
    """
    azimuth = tf.convert_to_tensor(azimuth)
    delta, s, y, z, norm2 = _path_difference(azimuth, elevation, inverse_range, array)
    k0 = tf.constant(array.wavenumber, delta.dtype)
    vectors = _unit_phasor(k0 * delta, array.num_elements)
    sin_az, cos_az = tf.sin(azimuth)[..., None], tf.cos(azimuth)[..., None]
    sin_el, cos_el = tf.sin(elevation)[..., None], tf.cos(elevation)[..., None]
    curvature = norm2 if array.wavefront == "fresnel" else norm2 - delta**2
    slopes = tf.stack(
        [cos_az * cos_el * y / s, (cos_el * z - sin_az * sin_el * y) / s, -0.5 * curvature / s],
        axis=-2,
    )
    slopes = k0 * slopes
    return vectors, tf.complex(tf.zeros_like(slopes), slopes) * vectors[..., None, :]


def source_positions_m(azimuth: tf.Tensor, elevation: tf.Tensor, range_m: tf.Tensor) -> tf.Tensor:
    """Cartesian positions q = r (cos theta cos phi, cos theta sin phi, sin theta): [..., 3], metres."""
    return tf.stack(
        [
            range_m * tf.cos(elevation) * tf.cos(azimuth),
            range_m * tf.cos(elevation) * tf.sin(azimuth),
            range_m * tf.sin(elevation),
        ],
        axis=-1,
    )
