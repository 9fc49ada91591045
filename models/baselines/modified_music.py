"""Modified MUSIC for sources in the near field of a symmetric surface, angles first and ranges after.

The three ideas that the abstract of Ramezani, Kosasih and Bjornson, "An Efficient Modified MUSIC Algorithm for
RIS-Assisted Near-Field Localization", arXiv 2409.14152, names, worked out for this measurement; its body was not at
hand, so that details may differ from theirs. To second order a path's length has an odd, linear part, the direction,
and an even one, the curvature:

    a_n conj(a_-n) ~ exp(2 j k0 u . p_n) / N,    u = (sin azimuth cos elevation, sin elevation),

so that the entries R[n, -n] (the antidiagonal) are a sum of plane waves that know no range.

Carried over: the surface's symmetry decouples angles from ranges; smoothing over overlapping parts of the surface gives
the covariance of that one vector its rank; MUSIC over the angles, then a search over the range alone at each of them.

Not carried over: a covariance of the field as received under fixed or repeated codes. Here codes and symbols change at
every snapshot, and R is `surface_covariance`, which sees M of N dimensions of a snapshot and is biased towards the
identity. No aliases: exp(2 j k0 u . p_n) is free of them at a quarter wavelength only; at half a wavelength they come
out as angles, too, and the second search, by the noise subspace of R itself, ranks them. Where the number of sources is
not told, eigenvalues are counted down to `depth_db` below the largest.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.baselines.grid import squared
from models.baselines.measurement import measure, steering_columns
from models.baselines.peaks import below_db, grid_peaks
from models.baselines.report import BatchLocalizer, SceneReport, batch_localizer
from models.baselines.surface_covariance import surface_covariance
from models.checked import AtLeast1, InsideUnit, NotNegative, checked
from models.covariance_estimator.grids import default_grid
from models.physics.geometry import RISArray, Scenario

_ANGLES_TRIED = 4  # times the number of sources


@checked(frozen=True)
class ModifiedMusicConfig:
    """Searches and the number of sources."""

    density: AtLeast1 = 2
    """Points along each axis for each cell of the installation's polar grid."""
    part: InsideUnit = 2.0 / 3.0
    """Sides of the overlapping parts, as a share of the surface's."""
    depth_db: NotNegative = 6.0
    """Eigenvalues of R at most this far below the largest are sources, dB."""
    num_sources: AtLeast1 | None = None
    """K where it is told."""


def is_symmetric(array: RISArray) -> bool:
    """Whether the elements are a lattice about the origin: element N - 1 - n at -p_n."""
    return array.positions_m is None and array.index_offset == 0.0


def antidiagonal(covariance: np.ndarray, array: RISArray) -> np.ndarray:
    """R[n, -n] over the surface, [N_V, N_H] complex128, -n the element on the other side of the centre."""
    return np.diagonal(covariance[:, ::-1]).reshape(array.num_vertical, array.num_horizontal)


def smoothed_covariance(field: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mean of x x^H over the overlapping parts x of a field [N_V, N_H]: [S, S], S = shape[0] shape[1]."""
    parts = sliding_window_view(field, shape).reshape(-1, shape[0] * shape[1])
    return parts.T @ parts.conj() / len(parts)


def music_height(covariance: np.ndarray, vectors: np.ndarray, num_sources: int) -> np.ndarray:
    """1 / |U_n^H a|^2 of a at unit norm, U_n all but the leading eigenvectors.

    Args:
      covariance: [S, S] Hermitian. vectors: a, [S, G]. num_sources: eigenvectors that are left out.

    Returns:
      [G] float64, at least 1.
    """
    signal = np.linalg.eigh(covariance).eigenvectors[:, -num_sources:]
    within = squared(signal.conj().T @ vectors).sum(axis=0) / squared(vectors).sum(axis=0)
    return 1.0 / np.maximum(1.0 - within, 1e-12)


class ModifiedMusic:
    """Sources by angles and then ranges.

    Args:
      scenario: surface, a lattice about the origin, field of view and most sources.
      config: searches and the number of sources.

    Raises:
      ValueError: a surface that is not its own image through the origin element by element.
    """

    def __init__(self, scenario: Scenario, config: ModifiedMusicConfig = ModifiedMusicConfig()) -> None:
        array = scenario.array
        if not is_symmetric(array):
            raise ValueError("modified_music: expected a lattice about the origin, got a surface without that symmetry")
        self.config, self.array, self.most = config, array, config.num_sources or scenario.max_sources
        view = scenario.field_of_view
        cells = default_grid(array, view, self.config.density).shape
        limits = (np.sin(view.azimuth), np.sin(view.elevation), np.array(view.inverse_range))
        sines = [
            low_high[0] + np.ptp(low_high) * (np.arange(count) + 0.5) / count
            for low_high, count in zip(limits, cells, strict=True)
        ]
        self.azimuth, self.elevation = np.meshgrid(np.arcsin(sines[0]), np.arcsin(sines[1]), indexing="ij")
        self.inverse_range = sines[2]
        rows, columns = (max(2, round(config.part * side)) for side in (array.num_vertical, array.num_horizontal))
        self.part_shape = (rows, columns)
        places = array.element_positions_m().reshape(array.num_vertical, array.num_horizontal, 2)[:rows, :columns]
        directions = np.stack([np.sin(self.azimuth) * np.cos(self.elevation), np.sin(self.elevation)])
        phases = places.reshape(-1, 2) @ directions.reshape(2, -1)
        self.plane_waves = np.exp(2j * array.wavenumber * phases)

    def count(self, covariance: np.ndarray) -> int:
        """How many sources there are, told or by the eigenvalues of R."""
        if self.config.num_sources is not None:
            return self.config.num_sources
        values = np.linalg.eigvalsh(covariance)
        return min(int(np.sum(values >= below_db(values[-1], self.config.depth_db))), self.most)

    def angles(self, covariance: np.ndarray, num_sources: int) -> np.ndarray:
        """Azimuth and elevation, radians, of the highest peaks of the angles' spectrum, aliases among them, [P, 2]."""
        smoothed = smoothed_covariance(antidiagonal(covariance, self.array), self.part_shape)
        height = music_height(smoothed, self.plane_waves, num_sources).reshape(self.azimuth.shape)
        peaks = grid_peaks(height, 0.0, _ANGLES_TRIED * num_sources)
        return np.stack([self.azimuth.ravel()[peaks], self.elevation.ravel()[peaks]], axis=-1)

    def locate(self, snapshots: np.ndarray, ris_codes: np.ndarray, channel: np.ndarray, snr_db: float) -> SceneReport:
        """The sources of one measurement; the score is 1 - |U_n^H a|^2, the share of a in the signal subspace.

        Args:
          snapshots: [L, M] complex. ris_codes: [L, N] complex. channel: [M, N] complex. snr_db: dB.
        """
        covariance = surface_covariance(measure(snapshots, ris_codes, channel, snr_db))
        num_sources = self.count(covariance)
        angles, ranges = self.angles(covariance, num_sources), self.inverse_range
        points = np.column_stack([np.repeat(angles, ranges.size, axis=0), np.tile(ranges, len(angles))])
        height = music_height(covariance, steering_columns(points, self.array)[0], num_sources)
        best = height.reshape(len(angles), -1).argmax(axis=1) + ranges.size * np.arange(len(angles))
        kept = best[np.argsort(-height[best], kind="stable")][:num_sources]
        return SceneReport(points[kept], 1.0 - 1.0 / height[kept])


def modified_music_localizer(scenario: Scenario, config: ModifiedMusicConfig = ModifiedMusicConfig()) -> BatchLocalizer:
    """`ModifiedMusic` as an estimator of batches; scores are shares of a steering vector in the signal subspace."""
    return batch_localizer(ModifiedMusic(scenario, config).locate, scenario.max_sources)
