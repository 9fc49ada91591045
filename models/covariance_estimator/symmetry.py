"""Mirror symmetry of the surface: element vectors split into four parities of N / 4 entries each.

Mirroring the surface left-right (y -> -y) or top-bottom (z -> -z) maps the steering vector of (phi, theta, r) to that
of (-phi, theta, r) or (phi, -theta, r). In a basis of even and odd combinations of mirrored elements, the four mirror
images of a point differ in signs only. Products with a mirror-symmetric dictionary then cost a quarter or less.
Parities are numbered 0..3: even-even, odd in y, odd in z, odd in both; the product of parities s and t is s XOR t.
"""

import math

import numpy as np

from models.physics.geometry import FieldOfView, RISArray

NUM_PARITIES = 4
SIGNS = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float32)
"""SIGNS[image, parity]. The images are the point itself and the point mirrored in y, in z and in both."""


def is_mirrored(array: RISArray, field_of_view: FieldOfView) -> bool:
    """True if surface and field of view are mirror symmetric and both axes have an even number of elements."""
    if array.positions_m is not None:
        return False
    even = array.num_horizontal % 2 == 0 and array.num_vertical % 2 == 0
    centred = array.index_offset == 0.0
    limits = (field_of_view.azimuth_deg, field_of_view.elevation_deg)
    return even and centred and all(math.isclose(low, -high) for low, high in limits)


def parity_basis(array: RISArray) -> np.ndarray:
    """Orthonormal real basis of the elements, [N, N] float32. Rows are sorted by parity, N / 4 rows each."""

    def halves(count: int) -> list[np.ndarray]:
        upper = np.eye(count)[count // 2 :]
        mirrored = upper[:, ::-1]
        return [(upper + mirrored) / math.sqrt(2.0), (upper - mirrored) / math.sqrt(2.0)]

    horizontal, vertical = halves(array.num_horizontal), halves(array.num_vertical)
    parities = [np.kron(vertical[s >> 1], horizontal[s & 1]) for s in range(NUM_PARITIES)]
    return np.concatenate(parities).astype(np.float32)
