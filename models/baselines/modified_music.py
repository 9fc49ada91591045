"""Modified MUSIC for sources in the near field of a symmetric surface: estimates the angles first, then the ranges.

Follows the abstract of Ramezani, Kosasih and Bjornson, "An Efficient Modified MUSIC Algorithm for RIS-Assisted
Near-Field Localization", arXiv 2409.14152. The full text was not available, so that details may differ. To second
order, the phase over the elements has an odd, linear part (direction) and an even part (curvature). The even part
cancels in

    a_n conj(a_-n) ~ exp(2 j k0 u . p_n) / N,    u = (sin azimuth cos elevation, sin elevation),

so that the entries R[n, -n] (the antidiagonal) are a sum of plane waves that do not depend on the ranges.

Ideas from the paper: the symmetry of the surface decouples angles and ranges. Smoothing over overlapping subarrays
restores the rank of the covariance of the antidiagonal. MUSIC estimates the angles, and a search over the range follows
at each of them.

Differences: the paper uses the covariance of the field received with fixed or repeated codes. Here codes and symbols
change in every snapshot. R is `surface_covariance`, which observes M of N dimensions per snapshot and is biased towards
the identity. exp(2 j k0 u . p_n) is unambiguous only for a spacing of a quarter wavelength. At half a wavelength,
aliases appear as angles, and the second search, with the noise subspace of R, ranks them. If the number of sources is
unknown, it is the number of eigenvalues within `depth_db` of the largest.
"""

import dataclasses

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.baselines.grid import squared
from models.baselines.measurement import Measurement, steering_columns
from models.baselines.peaks import below_db, grid_peaks
from models.baselines.report import Estimator, SceneReport
from models.baselines.surface_covariance import surface_covariance
from models.checked import AtLeast1, Depth, InsideUnit, checked
from models.covariance_estimator.dictionary import cell_centres
from models.covariance_estimator.grids import default_grid
from models.physics.geometry import RISArray

_ANGLES_TRIED = 4  # times the number of sources


@checked(frozen=True)
class ModifiedMusicConfig:
    """Settings of the searches and the number of sources."""

    density: AtLeast1 = 2
    """Search points per cell of the installation's polar grid, along each axis."""
    part: InsideUnit = 2.0 / 3.0
    """Side length of the overlapping subarrays, relative to that of the surface."""
    depth_db: Depth = 6.0
    """Depth below the largest eigenvalue of R down to which eigenvalues count as sources, dB."""
    num_sources: AtLeast1 | None = None
    """K, if known."""


def is_symmetric(array: RISArray) -> bool:
    """True if the elements form a lattice centred on the origin, so that element N - 1 - n is at -p_n."""
    return array.positions_m is None and array.index_offset == 0.0


def antidiagonal(covariance: np.ndarray, array: RISArray) -> np.ndarray:
    """R[n, -n], [N_V, N_H] complex128; -n is the element opposite to n."""
    return np.diagonal(covariance[:, ::-1]).reshape(array.num_vertical, array.num_horizontal)


def smoothed_covariance(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mean of x x^H over the overlapping subarrays x of a field [N_V, N_H]: [S, S] with S = shape[0] shape[1]."""
    parts = sliding_window_view(field, shape).reshape(-1, shape[0] * shape[1])
    return parts.T @ parts.conj() / len(parts)


def music_height(covariance: np.ndarray, vectors: np.ndarray, num_sources: int) -> np.ndarray:
    """MUSIC spectrum 1 / |U_n^H a|^2 of the vectors a [S, G], scaled to unit norm, at least 1: [G] float64.

    U_n is the noise subspace of the covariance [S, S], the complement of its `num_sources` strongest eigenvectors.
    """
    signal = np.linalg.eigh(covariance).eigenvectors[:, -num_sources:]
    within = squared(signal.conj().T @ vectors).sum(axis=0) / squared(vectors).sum(axis=0)
    return 1.0 / np.maximum(1.0 - within, 1e-12)


@dataclasses.dataclass(eq=False)
class ModifiedMusic(Estimator):
    """Locates sources by their angles first and their ranges second; the surface must be a centred lattice.

    The score is 1 - |U_n^H a|^2, the share of a in the signal subspace.
    """

    config: ModifiedMusicConfig = ModifiedMusicConfig()

    def __post_init__(self) -> None:
        array, config = self.scenario.array, self.config
        if not is_symmetric(array):
            raise ValueError("modified_music: expected a lattice about the origin, got a surface without that symmetry")
        self.array, self.most = array, config.num_sources or self.scenario.max_sources
        view = self.scenario.field_of_view
        cells = default_grid(array, view, self.config.density).shape
        limits = (np.sin(view.azimuth), np.sin(view.elevation), np.array(view.inverse_range))
        sines = [cell_centres(*axis) for axis in zip(limits, cells, strict=True)]
        self.azimuth, self.elevation = np.meshgrid(np.arcsin(sines[0]), np.arcsin(sines[1]), indexing="ij")
        self.inverse_range = sines[2]
        rows, columns = (max(2, round(config.part * side)) for side in (array.num_vertical, array.num_horizontal))
        self.part_shape = (rows, columns)
        places = array.element_positions_m().reshape(array.num_vertical, array.num_horizontal, 2)[:rows, :columns]
        directions = np.stack([np.sin(self.azimuth) * np.cos(self.elevation), np.sin(self.elevation)])
        phases = places.reshape(-1, 2) @ directions.reshape(2, -1)
        self.plane_waves = np.exp(2j * array.wavenumber * phases)

    def count(self, covariance: np.ndarray) -> int:
        """Number of sources, known or from the eigenvalues of R."""
        if self.config.num_sources is not None:
            return self.config.num_sources
        values = np.linalg.eigvalsh(covariance)
        return min(int(np.sum(values >= below_db(values[-1], self.config.depth_db))), self.most)

    def angles(self, covariance: np.ndarray, num_sources: int) -> np.ndarray:
        """Azimuth and elevation (radians) of the highest peaks over the angles, including aliases: [P, 2] float64."""
        smoothed = smoothed_covariance(antidiagonal(covariance, self.array), self.part_shape)
        height = music_height(smoothed, self.plane_waves, num_sources).reshape(self.azimuth.shape)
        peaks = grid_peaks(height, 0.0, _ANGLES_TRIED * num_sources)
        return np.stack([self.azimuth.ravel()[peaks], self.elevation.ravel()[peaks]], axis=-1)

    def report(self, measurement: Measurement) -> SceneReport:
        covariance = surface_covariance(measurement)
        num_sources = self.count(covariance)
        angles, ranges = self.angles(covariance, num_sources), self.inverse_range
        points = np.column_stack([np.repeat(angles, ranges.size, axis=0), np.tile(ranges, len(angles))])
        height = music_height(covariance, steering_columns(points, self.array)[0], num_sources)
        best = height.reshape(len(angles), -1).argmax(axis=1) + ranges.size * np.arange(len(angles))
        kept = best[np.argsort(-height[best], kind="stable")][:num_sources]
        return SceneReport(points[kept], 1.0 - 1.0 / height[kept])


modified_music_localizer = ModifiedMusic.for_batches
