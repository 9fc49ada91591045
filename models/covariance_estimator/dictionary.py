"""The polar steering dictionary D (N x G) on a grid uniform in (sin azimuth, sin elevation, 1 / range).

The grid follows Cui and Dai, "Channel estimation for extremely large-scale MIMO: far-field or near-field?", 2022. It is
uniform in 1/r, because the curvature of the wavefront is linear in 1/r. The columns have unit norm. Without
normalisation an element pattern would bias the maps towards the edge of the field of view, where |a| is small.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from models.batches import in_groups
from models.covariance_estimator.config import GridConfig
from models.covariance_estimator.symmetry import NUM_PARITIES, SIGNS, is_mirrored, parity_basis
from models.physics.geometry import FieldOfView, RISArray
from models.physics.steering import steering_norm2, steering_vectors

# Group sizes for each half of a batch: a product with the whole grid is up to 100 times as large as its sum.
_VECTORS_AT_ONCE, _MATRICES_AT_ONCE = 256, 4


def cell_centres(limits: Sequence[float] | np.ndarray, cells: int) -> np.ndarray:
    """Centres of equal cells between two limits, [cells] float64."""
    low, high = limits
    return low + (high - low) * (np.arange(cells) + 0.5) / cells


class PolarDictionary:
    """Unit-norm steering vectors of the grid, and the two products with them that the maps use.

    Products are real matrix products in the embedding [Re, Im], which is about three times faster on a CPU than
    complex64. If surface and field of view are mirror symmetric (symmetry.py), only the grid points of one quadrant are
    multiplied, separately for each parity.

    Attributes:
      azimuth, elevation: [G] float32, radians; range index fastest.
      inverse_range: [G] float32, 1/m.
      vectors: d = a / |a|, [G, N] complex64.
      norm2: |a|^2, [G] float32. A source of power p has power p |a|^2 with respect to d.
    """

    def __init__(self, array: RISArray, field_of_view: FieldOfView, config: GridConfig = GridConfig()) -> None:
        self.config, self.array, self.field_of_view = config, array, field_of_view
        sin_azimuth = cell_centres(np.sin(field_of_view.azimuth), config.num_azimuth)
        sin_elevation = cell_centres(np.sin(field_of_view.elevation), config.num_elevation)
        inverse_range = cell_centres(field_of_view.inverse_range, config.num_range)
        grid = np.meshgrid(np.arcsin(sin_azimuth), np.arcsin(sin_elevation), inverse_range, indexing="ij")
        with tf.init_scope():
            axes = [tf.constant(axis.ravel(), tf.float64) for axis in grid]
            norm2 = steering_norm2(axes[0], axes[1], axes[2], array)
            vectors = (
                steering_vectors(axes[0], axes[1], axes[2], array) / tf.cast(tf.sqrt(norm2), tf.complex128)[:, None]
            )
            self.vectors, self.norm2 = tf.cast(vectors, tf.complex64), tf.cast(norm2, tf.float32)
            self.azimuth, self.elevation, self.inverse_range = (tf.cast(axis, tf.float32) for axis in axes)
            self.first_place = self.places()[0].numpy()
            mirrored = is_mirrored(array, field_of_view)
            products: type[_MirroredProducts] | type[_DenseProducts] = _MirroredProducts if mirrored else _DenseProducts
            self._products = products(self.vectors, array, config)

    def places(self) -> tf.Tensor:
        """sin(azimuth), sin(elevation), inverse range (1/m) of the grid points, [G, 3] float32, uniformly spaced."""
        return tf.stack([tf.sin(self.azimuth), tf.sin(self.elevation), self.inverse_range], axis=-1)

    def cell_size(self) -> np.ndarray:
        """Extent of a grid cell in the coordinates of `places`, [3] float32."""
        low, high = self.edges()
        return (high - low) / np.array(self.config.shape, np.float32)

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest values of the field of view in the coordinates of `places`, [3] float32 each."""
        view = self.field_of_view
        low, high = np.transpose([np.sin(view.azimuth), np.sin(view.elevation), view.inverse_range])
        return low.astype(np.float32), high.astype(np.float32)

    def in_cells(self, points: tf.Tensor) -> tf.Tensor:
        """Converts points (azimuth, elevation, inverse range) [..., 3] to cell units; the first grid point is zero."""
        places = tf.concat([tf.sin(points[..., :2]), points[..., 2:]], axis=-1)
        return (places - self.first_place) / self.cell_size()

    def locate(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Nearest cells of points [..., 3]: flat indices [...] int32, offsets from their centres [..., 3], cells."""
        place = self.in_cells(points)
        index = tf.clip_by_value(tf.round(place), 0.0, np.array(self.config.shape, np.float32) - 1.0)
        cell = tf.tensordot(index, np.array(self.config.strides, np.float32), 1)
        return tf.cast(cell, tf.int32), place - index

    def beam_power(self, vectors: tf.Tensor) -> tf.Tensor:
        """sum_s |d_g^H z_s|^2 for every grid point: z [B, S, N] complex64 -> [B, G] float32.

        Takes 8 S N G real operations per scene, a quarter of that with mirror symmetry.
        """
        if vectors.shape[0] == 1:
            return self._products.beam_power(vectors)
        size = -(-_VECTORS_AT_ONCE // tf.shape(vectors)[1])
        return in_groups(self._products.beam_power, vectors, self.config.size, size)

    def quadratic_form(self, matrix: tf.Tensor) -> tf.Tensor:
        """d_g^H Q d_g for every grid point: Q [B, N, N] complex64, Hermitian -> [B, G] float32.

        Takes 8 N^2 G real operations per scene, a sixth of that with mirror symmetry.
        """
        if matrix.shape[0] == 1:
            return self._products.quadratic_form(matrix)
        return in_groups(self._products.quadratic_form, matrix, self.config.size, _MATRICES_AT_ONCE)


def _embedded(real: tf.Tensor, imag: tf.Tensor) -> tf.Tensor:
    """A complex matrix [..., n, m] as the real matrix [..., 2n, 2m] that multiplies [Re x; Im x]."""
    return tf.concat([tf.concat([real, -imag], -1), tf.concat([imag, real], -1)], -2)


class _DenseProducts:
    """Products with every grid point, for any geometry."""

    def __init__(self, vectors: tf.Tensor, array: RISArray, config: GridConfig) -> None:
        del array
        real, imag = tf.transpose(tf.math.real(vectors)), tf.transpose(tf.math.imag(vectors))
        self.size = config.size
        # Rows [Re z, Im z] times this give [Re d^H z, Im d^H z] for every grid point d.
        self.correlator = tf.concat([tf.concat([real, -imag], 1), tf.concat([imag, real], 1)], 0)

    def beam_power(self, vectors: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(vectors)
        rows = tf.reshape(vectors, [shape[0] * shape[1], vectors.shape[-1]])
        rows = tf.concat([tf.math.real(rows), tf.math.imag(rows)], axis=-1)
        products = tf.reshape(tf.matmul(rows, self.correlator), [shape[0], shape[1], 2, self.size])
        return tf.reduce_sum(products**2, axis=(1, 2))

    def quadratic_form(self, matrix: tf.Tensor) -> tf.Tensor:
        embedded = _embedded(tf.math.real(matrix), tf.math.imag(matrix))
        points = self.correlator[:, : self.size]
        size = embedded.shape[-1]
        products = tf.reshape(tf.matmul(tf.reshape(embedded, [-1, size]), points), [-1, size, self.size])
        return tf.reduce_sum(products * points, axis=1)


class _MirroredProducts:
    """Products with the grid points of one quadrant, by parity. Sign changes give the mirror images."""

    def __init__(self, vectors: tf.Tensor, array: RISArray, config: GridConfig) -> None:
        self.array = array
        indices = np.arange(config.size).reshape(config.shape)
        quadrant = indices[config.num_azimuth // 2 :, config.num_elevation // 2 :].ravel()
        images = [indices, indices[::-1], indices[:, ::-1], indices[::-1, ::-1]]
        where = np.zeros(config.size, np.int32)
        for image, mirrored in enumerate(images):
            where[mirrored[config.num_azimuth // 2 :, config.num_elevation // 2 :].ravel()] = (
                image * quadrant.size + np.arange(quadrant.size)
            )
        self.where, self.num_points = tf.constant(where), quadrant.size
        self.basis = tf.constant(parity_basis(array))
        self.points = tf.transpose(self._split(tf.gather(vectors, quadrant)), [0, 2, 1])  # [4, N / 2, Q]
        real, imag = tf.split(self.points, 2, axis=1)
        self.correlator = tf.concat([self.points, tf.concat([-imag, real], axis=1)], axis=2)
        self.pairs = [(s, t) for s in range(NUM_PARITIES) for t in range(s, NUM_PARITIES)]
        weights = [SIGNS[:, s ^ t] * (1.0 if s == t else 2.0) for s, t in self.pairs]
        self.left, self.right = (tf.gather(self.points, [pair[side] for pair in self.pairs]) for side in (0, 1))
        self.pair_weights = tf.constant(np.stack(weights, axis=1))  # [image, pair]

    def _to_basis(self, values: tf.Tensor) -> tf.Tensor:
        """Transforms the last axis to the parity basis. A 2-D product, since a broadcast one aborts in oneDNN."""
        rows = tf.reshape(values, [-1, self.array.num_elements])
        return tf.reshape(tf.matmul(rows, self.basis, transpose_b=True), tf.shape(values))

    def _split(self, vectors: tf.Tensor) -> tf.Tensor:
        """[n, N] complex -> [4, n, N / 2] real: [Re, Im] of each parity."""
        real, imag = (
            tf.split(self._to_basis(part(vectors)), NUM_PARITIES, axis=-1) for part in (tf.math.real, tf.math.imag)
        )
        return tf.stack([tf.concat(parts, axis=-1) for parts in zip(real, imag, strict=True)])

    def _on_grid(self, images: tf.Tensor) -> tf.Tensor:
        """Values of the mirror images on the whole grid: [B, image, Q] -> [B, G]."""
        return tf.gather(tf.reshape(images, [-1, NUM_PARITIES * self.num_points]), self.where, axis=1)

    def beam_power(self, vectors: tf.Tensor) -> tf.Tensor:
        num_scenes, num_vectors, _ = tf.unstack(tf.shape(vectors))
        rows = self._split(tf.reshape(vectors, [-1, self.array.num_elements]))
        first, second = tf.split(tf.matmul(rows, self.correlator), 2)  # [4, B S, 2 Q], in halves
        (a, b), (c, d) = tf.unstack(first + second), tf.unstack(first - second)
        by_vector = tf.stack([num_scenes, 2 * num_vectors, self.num_points])
        images = (a + b, a - b, c + d, c - d)
        power = [tf.reduce_sum(tf.reshape(tf.square(image), by_vector), axis=1) for image in images]
        return self._on_grid(tf.stack(power, axis=1))

    def quadratic_form(self, matrix: tf.Tensor) -> tf.Tensor:
        num_scenes, quarter = tf.shape(matrix)[0], self.array.num_elements // NUM_PARITIES
        parts = self._to_basis(tf.stack([tf.math.real(matrix), tf.math.imag(matrix)]))
        parts = self._to_basis(tf.transpose(parts, [0, 1, 3, 2]))  # [2, B, N, N], transposed
        parts = tf.reshape(parts, [2, num_scenes, NUM_PARITIES, quarter, NUM_PARITIES, quarter])
        parts = tf.reshape(tf.transpose(parts, [4, 2, 0, 1, 5, 3]), [-1, 2, num_scenes, quarter, quarter])
        parts = tf.gather(parts, [NUM_PARITIES * s + t for s, t in self.pairs])  # [pair, 2, B, N / 4, N / 4]
        left = tf.reshape(_embedded(parts[:, 0], parts[:, 1]), [len(self.pairs), -1, 2 * quarter])
        products = tf.reshape(tf.matmul(left, self.right), [len(self.pairs), num_scenes, 2 * quarter, self.num_points])
        by_pair = tf.reduce_sum(products * self.left[:, None], axis=2)  # [pair, B, Q]
        return self._on_grid(tf.transpose(tf.tensordot(self.pair_weights, by_pair, 1), [1, 0, 2]))
