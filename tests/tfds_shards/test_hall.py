"""Halls: image sources against a brute-force mirror, Fresnel coefficients against textbook limits, traced channels."""

import dataclasses
import math

import numpy as np
import pytest

from models.physics.geometry import FieldOfView
from tests.references import hall as reference
from tests.references.steering import element_position_m
from tfds_shards.hall import BaseStation, Hall, fresnel, images
from tfds_shards.simulator import CONFIGS, simulate_scene

WAVELENGTH_M = 0.3
CLOSED = Hall(x_m=(-1.0, 22.0), y_m=(-7.0, 12.0), z_m=(-6.0, 4.0))
HALLS = {"trial": Hall(), "closed": CLOSED, "floor": Hall((None, None), (None, None), (-1.5, None))}


def random_points(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([rng.uniform(*limits, count) for limits in ((0.3, 10.0), (-6.0, 8.0), (-1.4, 3.5))], axis=-1)


# Image sources


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("hall", HALLS.values(), ids=HALLS)
def test_images_are_those_of_a_brute_force_mirror(hall: Hall, order: int) -> None:
    """Every path that bounces off walls in turn, found by its points on them; a corner's two orders are one path."""
    points = random_points(20)
    found = images(hall, points, order, WAVELENGTH_M)
    np.testing.assert_array_equal(found.points_m[:, 0], points)
    np.testing.assert_array_equal(found.coefficients[:, 0], 1.0)
    for k, point in enumerate(points):
        expected = [(image, gain) for image, gain in reference.paths(hall, point, order, WAVELENGTH_M) if image[0] > 0]
        seen = found.coefficients[k] != 0
        assert np.count_nonzero(seen) == len(expected)
        for image, gain in expected:
            distance = np.linalg.norm(found.points_m[k] - image, axis=-1)
            assert distance.min() < 1e-9
            np.testing.assert_allclose(found.coefficients[k, distance.argmin()], gain, atol=1e-12)


def test_a_path_is_as_long_as_its_legs_and_leaves_a_wall_as_it_came() -> None:
    """The delay of a reflected path is that of its image: |image| / c; angles of incidence and reflection agree."""
    hall, source = Hall(), np.array([3.0, 2.1, -1.3])  # no path of which meets an edge
    lengths = np.sort(np.linalg.norm(images(hall, source[None], 2, WAVELENGTH_M).points_m[0], axis=-1))
    by_legs = []
    for sequence in reference.sequences(hall, 2):
        points = reference.bounce_points(source, np.zeros(3), sequence)
        if points is None or not all(reference.inside(point, hall) for point in points):
            continue
        legs = np.diff([source, *points, np.zeros(3)], axis=0)
        by_legs.append(np.linalg.norm(legs, axis=1).sum())
        rays = legs / np.linalg.norm(legs, axis=1, keepdims=True)
        for (axis, _), arriving, leaving in zip(sequence, rays[:-1], rays[1:], strict=True):
            assert leaving[axis] == pytest.approx(-arriving[axis], abs=1e-12)
    np.testing.assert_allclose(np.sort(by_legs), lengths, atol=1e-9)
    np.testing.assert_allclose(
        lengths[:2], [math.sqrt(9 + 2.1**2 + 1.3**2), math.sqrt(9 + 2.1**2 + 10.7**2)], atol=1e-12
    )


def test_number_of_paths_in_the_trials_hall() -> None:
    """Five walls: 5 single bounces, 4 pairs of opposite walls, 8 corners."""
    for order, count in ((0, 1), (1, 6), (2, 18)):
        found = images(Hall(), random_points(4), order, WAVELENGTH_M)
        assert found.points_m.shape == (4, count, 3)
        assert np.all(found.coefficients != 0)


def test_what_lies_behind_the_surface_does_not_reach_it() -> None:
    found = images(CLOSED, random_points(5), 2, WAVELENGTH_M)
    behind = found.points_m[..., 0] <= 0
    assert np.any(behind)
    np.testing.assert_array_equal(found.coefficients[behind], 0.0)


# Fresnel


def test_normal_incidence() -> None:
    """(1 - n) / (1 + n), and the other sign for the field in the plane of incidence."""
    te, tm = fresnel(np.array(1.0), 5.24 + 0j)
    index = math.sqrt(5.24)
    assert te == pytest.approx((1 - index) / (1 + index))
    assert tm == pytest.approx(-te)


def test_brewsters_angle_reflects_no_tm() -> None:
    cosine = math.cos(math.atan(math.sqrt(5.24)))
    te, tm = fresnel(np.array(cosine), 5.24 + 0j)
    assert abs(tm) < 1e-12
    assert te == pytest.approx((1 - 5.24) / (1 + 5.24))  # (cos^2 - sin^2) of that angle, negative


def test_grazing_incidence_reflects_all_in_counter_phase() -> None:
    for permittivity in (5.24 + 0j, Hall().permittivity(WAVELENGTH_M)):
        for coefficient in fresnel(np.array(1e-9), permittivity):
            assert coefficient == pytest.approx(-1.0, abs=1e-7)


def test_a_perfect_conductor_reflects_all() -> None:
    te, tm = fresnel(np.array(0.6), Hall(conductivity_s_m=1e12).permittivity(WAVELENGTH_M))
    assert te == pytest.approx(-1.0, abs=1e-4)
    assert tm == pytest.approx(1.0, abs=1e-4)


def test_energy_is_what_is_reflected_and_what_enters() -> None:
    """R + T = 1 of a wall without loss, T = |t|^2 Re(n cos theta_t) / cos theta; a lossy one never gains."""
    cosine = np.linspace(0.01, 1.0, 50)
    index = math.sqrt(5.24)
    inside = np.sqrt(1 - (1 - cosine**2) / 5.24)
    te, tm = fresnel(cosine, 5.24 + 0j)
    te_through = 2 * cosine / (cosine + index * inside)
    tm_through = 2 * cosine / (index * cosine + inside)
    for reflected, through in ((te, te_through), (tm, tm_through)):
        np.testing.assert_allclose(np.abs(reflected) ** 2 + through**2 * index * inside / cosine, 1.0, atol=1e-12)
    for coefficient in fresnel(cosine, Hall().permittivity(WAVELENGTH_M)):
        assert np.all(np.abs(coefficient) <= 1.0)


def test_permittivity_has_the_loss_of_the_conductivity() -> None:
    """Concrete at 1 GHz: sigma / (omega eps_0) = 0.83."""
    assert Hall().permittivity(0.299792458) == pytest.approx(5.24 - 0.8269j, abs=1e-3)


# The traced channel


def test_traced_channel_is_the_sum_over_paths_between_every_pair() -> None:
    """Element by element and antenna by antenna; by reciprocity it does not matter which end sends."""
    place = BaseStation(x_m=(14.0, 14.0), y_m=(2.0, 2.0), z_m=(-1.0, -1.0))
    config = dataclasses.replace(CONFIGS["l64_m64_world"], base_station=place)
    channel = simulate_scene(config, "test", 0).channel
    antennas = place.draw_antennas_m(np.random.default_rng(0), WAVELENGTH_M)
    expected = pairwise(antennas, config)
    scale = np.vdot(expected, channel) / np.vdot(expected, expected)
    assert np.linalg.norm(channel - scale * expected) < 0.02 * np.linalg.norm(channel)


def pairwise(antennas: np.ndarray, config) -> np.ndarray:
    array = config.scenario.array
    expected = np.zeros((len(antennas), array.num_elements), complex)
    for m, antenna in enumerate(antennas):
        for image, gain in reference.paths(config.hall, antenna, 2, WAVELENGTH_M):
            for n in range(array.num_elements):
                way = image - element_position_m(n, array)
                length = np.linalg.norm(way)
                pattern = (way[0] / length) ** array.element_exponent
                expected[m, n] += gain * pattern / length * np.exp(-2j * np.pi / WAVELENGTH_M * length)
    return expected


@pytest.mark.parametrize(("name", "rank"), [("l64_m64", 14.0), ("l64_m64_sight", 1.5)])
def test_effective_rank(name: str, rank: float) -> None:
    """(sum sigma^2)^2 / sum sigma^4 of H: what few paths carry to the base station is seen along few directions."""
    ranks = []
    for index in range(40):
        power = np.linalg.svd(simulate_scene(CONFIGS[name], "test", index).channel, compute_uv=False) ** 2
        ranks.append(power.sum() ** 2 / np.sum(power**2))
    assert np.mean(ranks) == pytest.approx(rank, abs=0.2)


# Refusals


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("x_m", (1.0, 22.0)),
        ("y_m", (-12.0, 0.0)),
        ("z_m", (-6.0, math.nan)),
        ("relative_permittivity", 0.5),
        ("conductivity_s_m", -0.1),
    ],
)
def test_bad_halls_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"Hall\.{field}(\[\d\])?: expected .*got "):
        Hall(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("rows", 0), ("columns", 0), ("x_m", (-1.0, 8.0)), ("z_m", (1.0, -1.0))])
def test_bad_base_stations_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"BaseStation\.{field}(\[\d\])?: expected .*got "):
        BaseStation(**{field: value})


def test_a_hall_holds_its_field_of_view() -> None:
    assert Hall().holds_view(FieldOfView())
    assert not Hall(z_m=(-4.9, 6.0)).holds_view(FieldOfView())
    assert not Hall(x_m=(None, 9.0)).holds_view(FieldOfView())
