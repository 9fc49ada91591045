"""Scenes of other worlds than the default's: snapshots against slow references, draws against what is said of them."""

import dataclasses
import math

import numpy as np
import pytest

from models.physics.geometry import FieldOfView, RISArray, Scenario
from tests.references.hall import arriving_vector, mirrored
from tests.references.steering import source_position_m, steering_vector
from tfds_shards.codebook import code_phasors, dft_phase_index
from tfds_shards.hall import Hall
from tfds_shards.simulator import CONFIGS, Scene, SceneConfig, simulate_scene
from tfds_shards.sources import Transmission, draw_outside, sources_at

FLOOR = Hall((None, None), (None, None), (-6.0, None))


def noise_free(name: str, **changes) -> SceneConfig:
    return dataclasses.replace(CONFIGS[name], snr_db=(200.0, 200.0), **changes)


def received(scene: Scene, config: SceneConfig, vectors: list[np.ndarray]) -> np.ndarray:
    """H diag(c_l) v_k, [L, M, K]."""
    codes = code_phasors(scene.code_phase_index, config.phase_bits)
    return np.einsum("mn,ln,kn->lmk", scene.channel, codes, vectors)


def positions(scene: Scene) -> list[np.ndarray]:
    places = (scene.azimuth, scene.elevation, scene.range_m)
    return [source_position_m(*(float(values[k]) for values in places)) for k in range(scene.num_sources)]


def unexplained_share(scene: Scene, columns: np.ndarray) -> float:
    basis = np.linalg.qr(columns)[0]
    snapshots = scene.snapshots[..., None]
    return float(np.linalg.norm(snapshots - basis @ (basis.conj().mT @ snapshots)) / np.linalg.norm(snapshots)) ** 2


# Halls


@pytest.mark.parametrize("name", ["l64_m64_hall", "l64_m64_world"])
def test_all_paths_of_a_source_carry_one_symbol(name: str) -> None:
    """Snapshots lie in the span of K columns, each the sum over a source's paths, not in that of the direct ones."""
    config, direct_shares = noise_free(name), []
    for index in range(4):
        scene = simulate_scene(config, "test", index)
        places = positions(scene)
        vectors = [arriving_vector(config.hall, place, 2, config.scenario.array) for place in places]
        columns = received(scene, config, vectors)
        explained = np.linalg.pinv(columns) @ scene.snapshots[..., None]
        residual = scene.snapshots - (columns @ explained)[..., 0]
        assert np.linalg.norm(residual) < 1e-4 * np.linalg.norm(scene.snapshots)
        direct = [arriving_vector(config.hall, place, 0, config.scenario.array) for place in places]
        direct_shares.append(unexplained_share(scene, received(scene, config, direct)))
    assert min(direct_shares) > 1e-5


def test_the_first_image_is_coherent_with_the_direct_path() -> None:
    """Symbols solved for source and floor image apart: one is the other, times the path's coefficient."""
    scenario = Scenario(array=CONFIGS["l64_m64_hall"].scenario.array, max_sources=1)
    config = noise_free("l64_m64_hall", hall=FLOOR, source_bounces=1, scenario=scenario, rician_factor=(0.0, 0.0))
    for index in range(5):
        scene = simulate_scene(config, "test", index)
        source = positions(scene)[0]
        vectors = []
        for place in (source, mirrored(source, (2, -6.0))):
            length = float(np.linalg.norm(place))
            angles = (math.atan2(place[1], place[0]), math.asin(place[2] / length))
            vectors.append(steering_vector(*angles, length, scenario.array))
        symbols = (np.linalg.pinv(received(scene, config, vectors)) @ scene.snapshots[..., None])[..., 0].T
        coherence = np.vdot(*symbols) / np.linalg.norm(symbols[0]) / np.linalg.norm(symbols[1])
        assert abs(coherence) == pytest.approx(1.0, abs=1e-3)
        weaker = np.linalg.norm(symbols[1]) / np.linalg.norm(symbols[0])
        longer = np.linalg.norm(source) / np.linalg.norm(mirrored(source, (2, -6.0)))
        assert 0 < weaker < longer  # no wall reflects more than it receives


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hall": None}, "source_bounces: expected a hall"),
        ({"source_bounces": 3}, "source_bounces: expected 0 to 2"),
        ({"hall": Hall(z_m=(-4.0, 6.0))}, "hall: expected walls around the whole field of view"),
        ({"channel_bounces": 1, "hall": Hall(x_m=(None, 15.0))}, "base_station: expected a place inside the hall"),
        ({"channel_bounces": 1, "scenario": Scenario(num_antennas=8)}, "base_station: expected 8 antennas, got 4 x 4"),
        ({"outside_sources": (2, 1)}, "outside_sources: expected .low, high. with low <= high"),
        ({"most_sources": 0}, "most_sources: expected 1 or more, got 0"),
    ],
)
def test_worlds_that_cannot_be_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^SceneConfig\.{message}"):
        dataclasses.replace(CONFIGS["l64_m64_hall"], **changes)


# What sources send


def test_spread_of_transmit_powers_is_in_the_truth() -> None:
    """p_k over the path loss is normal in dB, with the deviation said."""
    scenes = [simulate_scene(CONFIGS["l64_m64_power"], "train", index) for index in range(150)]
    gains_db = []
    for scene in scenes:
        used = slice(scene.num_sources)
        path_loss = (0.3 / (4 * math.pi * scene.range_m[used])) ** 2
        gains_db.extend(10 * np.log10(scene.power[used] / path_loss))
    assert np.std(gains_db) == pytest.approx(5.0, abs=5 * 4 / math.sqrt(2 * len(gains_db)))
    assert np.mean(gains_db) == pytest.approx(0.0, abs=4 * 5 / math.sqrt(len(gains_db)))


def test_constant_modulus_symbols_have_four_phases() -> None:
    config = noise_free("l64_m64_qpsk", scenario=Scenario(max_sources=2))
    for index in range(4):
        scene = simulate_scene(config, "test", index)
        vectors = [
            steering_vector(
                *(float(values[k]) for values in (scene.azimuth, scene.elevation, scene.range_m)), RISArray()
            )
            for k in range(scene.num_sources)
        ]
        symbols = (np.linalg.pinv(received(scene, config, vectors)) @ scene.snapshots[..., None])[..., 0]
        symbols /= np.sqrt(scene.power[: scene.num_sources])
        np.testing.assert_allclose(symbols**4, -1.0, atol=5e-2)


@pytest.mark.parametrize("symbols", ["gaussian", "qpsk"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_symbols_are_correlated_as_said(symbols: str, correlation: float) -> None:
    transmission = Transmission(symbols=symbols, correlation=(correlation, correlation))
    drawn = transmission.draw_symbols(np.random.default_rng(2), 20_000, 3)
    moments = drawn.conj().T @ drawn / len(drawn)
    np.testing.assert_allclose(np.diag(moments).real, 1.0, atol=0.05)
    assert np.abs(moments)[np.triu_indices(3, 1)] == pytest.approx(np.full(3, correlation), abs=0.05)
    if symbols == "qpsk":
        np.testing.assert_allclose(drawn**4, -1.0, atol=1e-9)


@pytest.mark.parametrize(
    ("field", "value"), [("power_spread_db", -1.0), ("symbols", "bpsk"), ("correlation", (0.5, 1.2))]
)
def test_bad_transmissions_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"Transmission\.{field}(\[\d\])?: expected .*got "):
        Transmission(**{field: value})


# Sources that no one asks for


@pytest.mark.parametrize("hall", [None, Hall()], ids=["open", "hall"])
def test_sources_outside_the_field_of_view_lie_outside(hall: Hall | None) -> None:
    view = FieldOfView()
    drawn = draw_outside(np.random.default_rng(3), view, 300, hall)
    limits = (view.azimuth, view.elevation, view.range_m)
    inside = [(low <= values) & (values <= high) for values, (low, high) in zip(drawn, limits, strict=True)]
    assert not np.any(np.all(inside, axis=0))
    assert np.all(drawn.positions_m()[:, 0] > 0)
    assert hall is None or np.all(hall.holds(drawn.positions_m()))
    for there, back in zip(drawn, sources_at(drawn.positions_m()), strict=True):
        np.testing.assert_allclose(back, there, atol=1e-12)


def test_sources_outside_are_in_the_snapshots_alone() -> None:
    config, shares = noise_free("l64_m64_outside"), []
    for index in range(6):
        scene = simulate_scene(config, "test", index)
        vectors = [
            steering_vector(
                *(float(values[k]) for values in (scene.azimuth, scene.elevation, scene.range_m)), RISArray()
            )
            for k in range(scene.num_sources)
        ]
        shares.append(unexplained_share(scene, received(scene, config, vectors)))
    assert min(shares) > 1e-6 and max(shares) > 1e-2


def test_of_too_many_sources_the_strongest_are_asked_for() -> None:
    """The same draws with room for all: same snapshots, and the truth of five is that of the five strongest."""
    crowded, counts = CONFIGS["l64_m64_crowded"], []
    roomy = dataclasses.replace(crowded, scenario=Scenario(max_sources=8))
    for index in range(60):
        scene, whole = (simulate_scene(config, "test", index) for config in (crowded, roomy))
        np.testing.assert_array_equal(scene.snapshots, whole.snapshots)
        counts.append(whole.num_sources)
        assert scene.num_sources == min(whole.num_sources, 5)
        strongest = np.sort(whole.power)[::-1][: scene.num_sources]
        np.testing.assert_array_equal(np.sort(scene.power[: scene.num_sources])[::-1], strongest)
    assert set(counts) == set(range(1, 9))


# Arrays


def test_spacing_follows_the_wavelength() -> None:
    assert RISArray().spacing_m == 0.15
    assert RISArray(wavelength_m=0.01).spacing_m == 0.005
    assert RISArray(wavelength_m=0.01, spacing_m=0.004).spacing_m == 0.004


def test_elements_at_given_positions_are_those_of_the_lattice_there() -> None:
    """A lattice given as a list: the same vectors and codes; with a quarter missing, those of the elements left."""
    lattice = RISArray()
    places = lattice.element_positions_m()
    given = RISArray(positions_m=tuple(map(tuple, places)))
    assert given.num_elements == 144 and given.lattice_shape == (12, 12)
    assert given.aperture_m == pytest.approx(lattice.aperture_m)
    np.testing.assert_array_equal(given.element_positions_m(), places)
    codes = dft_phase_index(lattice, 64, 3)
    np.testing.assert_array_equal(dft_phase_index(given, 64, 3), codes)
    left = ~np.all(places > 0, axis=1)
    missing = RISArray(positions_m=tuple(map(tuple, places[left])))
    assert missing.num_elements == 108
    np.testing.assert_array_equal(dft_phase_index(missing, 64, 3), codes[:, left])


@pytest.mark.parametrize(
    ("positions_m", "message"),
    [
        (((0.0, 0.0),), "expected at least 2 pairs"),
        (((0.0, 0.0), (0.0,)), "expected 2 values, got "),
        (((0.0, 0.0), (0.0, math.inf)), "expected a finite number, got inf"),
        (((0.1, 0.0), (0.1, 0.0)), "expected positions that all differ"),
    ],
)
def test_bad_positions_are_named(positions_m, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^RISArray\.positions_m(\[\d\])*: .*{message}"):
        RISArray(positions_m=positions_m)


def test_positions_survive_json() -> None:
    array = RISArray(positions_m=((0.0, 0.1), (0.2, 0.3)))
    settings = dataclasses.asdict(array) | {"positions_m": [[0.0, 0.1], [0.2, 0.3]]}
    assert RISArray(**settings) == array
    assert hash(RISArray(**settings)) == hash(array)
