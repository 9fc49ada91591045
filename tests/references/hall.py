"""Slow reference of `tfds_shards.hall`: finds paths by mirroring points in one wall after the other."""

import cmath
import math
from collections.abc import Iterator

import numpy as np

from tests.references.steering import steering_vector
from tfds_shards.hall import Hall

Wall = tuple[int, float]  # axis of its normal, coordinate on this axis


def walls(hall: Hall) -> list[Wall]:
    return [(axis, wall) for axis, limits in enumerate(hall.limits_m) for wall in limits if wall is not None]


def mirrored(point: np.ndarray, wall: Wall) -> np.ndarray:
    axis, coordinate = wall
    image = point.copy()
    image[axis] = 2 * coordinate - point[axis]
    return image


def bounce_points(source: np.ndarray, target: np.ndarray, sequence: tuple[Wall, ...]) -> list[np.ndarray] | None:
    """Points at which a path reflects off these walls in this order; None if there is no such path.

    Works backwards: the line from the target to the last image meets the last wall; the line from there to the previous
    image meets the previous wall.
    """
    image, chain = source, [source]
    for wall in sequence:
        image = mirrored(image, wall)
        chain.append(image)
    points, end = [], target
    for wall, image in zip(sequence[::-1], chain[:0:-1], strict=True):
        axis, coordinate = wall
        along = (coordinate - end[axis]) / (image[axis] - end[axis])
        if not 0 < along < 1:
            return None
        end = end + along * (image - end)
        points.append(end)
    return points[::-1]


def inside(point: np.ndarray, hall: Hall) -> bool:
    """True if the point is in the box; points on a wall count."""
    return all(
        (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)
        for value, (low, high) in zip(point, hall.limits_m, strict=True)
    )


def sequences(hall: Hall, order: int) -> Iterator[tuple[Wall, ...]]:
    yield ()
    if order >= 1:
        yield from ((wall,) for wall in walls(hall))
    if order >= 2:
        yield from ((first, second) for first in walls(hall) for second in walls(hall) if first != second)


def coefficient(before: np.ndarray, at: np.ndarray, wall: Wall, hall: Hall, wavelength_m: float) -> complex:
    """Fresnel coefficient of a ray from `before` to the wall at `at`: TE on vertical walls, TM on floor and ceiling."""
    ray = (at - before) / np.linalg.norm(at - before)
    cosine = abs(ray[wall[0]])
    omega = 2 * math.pi * 299_792_458.0 / wavelength_m
    epsilon = complex(hall.relative_permittivity, -hall.conductivity_s_m / (omega * 8.8541878128e-12))
    inner = cmath.sqrt(epsilon - (1 - cosine**2))
    if wall[0] == 2:
        return (epsilon * cosine - inner) / (epsilon * cosine + inner)
    return (cosine - inner) / (cosine + inner)


def paths(hall: Hall, source: np.ndarray, order: int, wavelength_m: float) -> list[tuple[np.ndarray, complex]]:
    """Image and coefficient of every path from the source to the origin; the hall starts at x = 0."""
    found = []
    for sequence in sequences(hall, order):
        points = bounce_points(source, np.zeros(3), sequence)
        if points is None or not all(inside(point, hall) for point in points):
            continue
        gain, image, before = 1.0 + 0j, source, source
        for wall, at in zip(sequence, points, strict=True):
            gain *= coefficient(before, at, wall, hall, wavelength_m)
            image, before = mirrored(image, wall), at
        found.append((image, gain))
    return found


def arriving_vector(hall: Hall, source: np.ndarray, order: int, array) -> np.ndarray:
    """Field at the elements over all paths, relative to phase and power of the direct path at the centre."""
    distance = float(np.linalg.norm(source))
    total = np.zeros(array.num_elements, complex)
    for image, gain in paths(hall, source, order, array.wavelength_m):
        length = float(np.linalg.norm(image))
        azimuth, elevation = math.atan2(image[1], image[0]), math.asin(image[2] / length)
        phase = cmath.exp(2j * math.pi / array.wavelength_m * (distance - length))
        total += gain * distance / length * phase * steering_vector(azimuth, elevation, length, array)
    return total
