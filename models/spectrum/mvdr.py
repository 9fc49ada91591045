"""The MVDR (Capon) spectrum P(psi) = a^H a / (a^H R^-1 a) of a covariance R, on the grid and at any point.

The numerator makes it independent of |a|: away from all sources P equals the floor of R, for any element pattern. There
are two ways to compute a^H R^-1 a, both by Cholesky factorisation without an explicit inverse:
    dense      R = L L^H,            a^H R^-1 a = |L^-1 a|^2
    low rank   R = U U^H + eps I,    a^H R^-1 a = (a^H a - |C^-1 U^H a|^2) / eps,   C C^H = eps I + U^H U   (Woodbury)
"""

import dataclasses

import keras
import tensorflow as tf

from models.checked import stored
from models.covariance_estimator.config import GridConfig
from models.covariance_estimator.dictionary import PolarDictionary
from models.covariance_estimator.grids import default_grid
from models.physics.covariance import LowRankCovariance, as_complex
from models.physics.geometry import FieldOfView, RISArray, Scenario


def white_factor(covariance: LowRankCovariance) -> tf.Tensor:
    """F = U C^-H, for which R^-1 = (I - F F^H) / eps: [B, N, A] complex."""
    factor, floor = covariance
    gram = tf.matmul(factor, factor, adjoint_a=True)
    floor = as_complex(floor)[:, None, None]
    chol = tf.linalg.cholesky(gram + floor * tf.eye(tf.shape(gram)[-1], dtype=gram.dtype))
    return tf.linalg.adjoint(tf.linalg.triangular_solve(chol, tf.linalg.adjoint(factor)))


def inverse_quadratic(covariance: tf.Tensor | LowRankCovariance, vectors: tf.Tensor) -> tf.Tensor:
    """a^H R^-1 a, [B, G] real, of a [B, N, G] or [N, G] and R [B, N, N] positive definite, or low rank."""
    if isinstance(covariance, LowRankCovariance):
        explained = tf.matmul(white_factor(covariance), vectors, adjoint_a=True)
        norm2 = tf.reduce_sum(tf.abs(vectors) ** 2, axis=-2)
        remainder = norm2 - tf.reduce_sum(tf.abs(explained) ** 2, axis=-2)
        return tf.maximum(remainder, 1e-7 * norm2) / covariance.floor[:, None]
    chol = tf.linalg.cholesky(covariance)
    vectors = tf.broadcast_to(vectors, tf.concat([tf.shape(chol)[:-2], tf.shape(vectors)[-2:]], 0))
    return tf.reduce_sum(tf.abs(tf.linalg.triangular_solve(chol, vectors)) ** 2, axis=-2)


@keras.saving.register_keras_serializable("ris_mvdr")
class MVDR(keras.layers.Layer):
    """MVDR spectrum on the points of a polar grid. Has no weights; differentiable with respect to R.

    Examples:
      >>> MVDR(RISArray(), FieldOfView(), GridConfig())(r_eff).shape  # [B, N, N] -> [B, azimuth, elevation, range]
    """

    def __init__(
        self,
        array: RISArray = RISArray(),
        field_of_view: FieldOfView = FieldOfView(),
        grid: GridConfig = GridConfig(),
        **kwargs,
    ) -> None:
        super().__init__(trainable=False, **kwargs)
        self.array, self.field_of_view, self.grid = array, field_of_view, grid
        self.dictionary = PolarDictionary(array, field_of_view, grid)

    def call(self, covariance: tf.Tensor | LowRankCovariance) -> tf.Tensor:
        """R_eff, dense [B, N, N] complex64 or low rank -> P, [B, azimuth, elevation, range] float32."""
        if isinstance(covariance, LowRankCovariance):
            power = self.dictionary.beam_power(tf.linalg.matrix_transpose(white_factor(covariance)))
            inverse = tf.maximum(1.0 - power, 1e-7) / covariance.floor[:, None]
        else:
            inverse = inverse_quadratic(covariance, tf.linalg.matrix_transpose(self.dictionary.vectors))
        return tf.reshape(1.0 / inverse, [-1, *self.grid.shape])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "array": dataclasses.asdict(self.array),
            "field_of_view": dataclasses.asdict(self.field_of_view),
            "grid": dataclasses.asdict(self.grid),
        }

    @classmethod
    def from_config(cls, config: dict) -> "MVDR":
        config = dict(config)
        config.pop("trainable", None)
        array, view = stored(config.pop("array"), RISArray), stored(config.pop("field_of_view"), FieldOfView)
        return cls(array, view, stored(config.pop("grid"), GridConfig), **config)


def spectrum_layer(scenario: Scenario, grid: GridConfig | None = None) -> MVDR:
    """The MVDR layer of an installation. The default grid is twice as fine along each axis as `default_grid`."""
    array, view = scenario.array, scenario.field_of_view
    return MVDR(array, view, grid or default_grid(array, view, density=2))
