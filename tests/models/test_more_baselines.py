"""The benchmark's baselines against slow definitions, and each on one strong source."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from models.baselines.measurement import Measurement, measure
from models.baselines.modified_music import (
    ModifiedMusic,
    ModifiedMusicConfig,
    antidiagonal,
    is_symmetric,
    modified_music_localizer,
    music_height,
    smoothed_covariance,
)
from models.baselines.mvdr_sample import SampleMVDR, SampleMVDRConfig, mvdr_sample_localizer
from models.baselines.peaks import grid_peaks
from models.baselines.polar_omp import PolarOMP, PolarOMPConfig, polar_omp_localizer
from models.baselines.sbl import SBL, SBLConfig, sbl_localizer
from models.baselines.surface_covariance import surface_covariance, surface_fields
from models.covariance_estimator.config import GridConfig
from models.physics.geometry import RISArray, Scenario
from tests.references import likelihood as reference
from tests.references.steering import steering_vector

ARRAY = RISArray(8, 8)
SCENARIO = Scenario(array=ARRAY, num_antennas=8, max_sources=3)
GRID = GridConfig(14, 9, 8)
LOUD = np.array([[0.35, 0.15, 1.0 / 3.0]])
"""Azimuth, elevation, inverse range of one source, on no grid point."""
FAR_PAIR = np.array([[0.6, 0.25, 0.5], [-0.5, -0.2, 0.8]])


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(scale=np.sqrt(0.5), size=(*shape, 2)) @ [1, 1j]


def received(points: np.ndarray, seed: int = 0, snr_db: float = 30.0, num_snapshots: int = 64) -> dict:
    """Measurements of equally strong sources, inputs of the estimators."""
    rng = np.random.default_rng(seed)
    channel = normal(rng, SCENARIO.num_antennas, ARRAY.num_elements)
    codes = np.exp(2j * np.pi * rng.integers(8, size=(num_snapshots, ARRAY.num_elements)) / 8)
    vectors = np.stack([steering_vector(az, el, 1.0 / w, ARRAY) for az, el, w in points])
    clean = np.einsum("mn,ln,kn,lk->lm", channel, codes, vectors, normal(rng, num_snapshots, len(points)))
    noise_power = np.mean(np.abs(clean) ** 2) / 10.0 ** (snr_db / 10.0)
    snapshots = clean + np.sqrt(noise_power) * normal(rng, *clean.shape)
    return {"snapshots": snapshots, "ris_codes": codes, "channel": channel, "snr_db": snr_db}


@pytest.fixture(scope="module")
def pair() -> Measurement:
    return measure(**received(FAR_PAIR, snr_db=10.0, num_snapshots=24))


LOCALIZERS = [
    (mvdr_sample_localizer, SampleMVDRConfig(grid=GRID)),
    (polar_omp_localizer, PolarOMPConfig(grid=GRID)),
    (sbl_localizer, SBLConfig(grid=GRID)),
    (modified_music_localizer, ModifiedMusicConfig()),
]


def in_cells(outputs: dict, points: np.ndarray) -> np.ndarray:
    """Distances of the first slot of one scene from a point, in cells of `GRID`."""
    found = np.radians([outputs["azimuth_deg"][0, 0], outputs["elevation_deg"][0, 0]])
    view = SCENARIO.field_of_view
    spans = [np.ptp(np.sin(view.azimuth)), np.ptp(np.sin(view.elevation)), np.ptp(view.inverse_range)]
    difference = np.append(np.sin(found) - np.sin(points[0, :2]), 1.0 / outputs["range_m"][0, 0] - points[0, 2])
    return np.abs(difference) / (np.array(spans) / GRID.shape)


@pytest.mark.parametrize(("localizer", "config"), LOCALIZERS)
def test_one_loud_source_is_found_to_a_cell(localizer, config) -> None:
    for seed in range(1 if config.__class__ is SBLConfig else 3):
        scene = {name: np.asarray(value)[None] for name, value in received(LOUD, seed).items()}
        told = localizer(SCENARIO, dataclasses.replace(config, num_sources=1))(scene)
        assert told["num_sources"][0] == 1
        assert np.all(in_cells(told, LOUD) <= 1.0)
        blind = localizer(SCENARIO, config)(scene)
        assert blind["num_sources"][0] >= 1 and np.all(in_cells(blind, LOUD) <= 1.0)


@pytest.mark.extended
@pytest.mark.parametrize(("localizer", "config"), LOCALIZERS)
def test_answers_have_the_localizers_form_whatever_the_scale(localizer, config) -> None:
    scenes = [received(FAR_PAIR, seed, 15.0, 24) for seed in range(2)]
    batch = {name: np.stack([scene[name] for scene in scenes]) for name in scenes[0]}
    outputs = localizer(SCENARIO, config)(batch)
    used = np.arange(SCENARIO.max_sources) < outputs["num_sources"][:, None]
    for name in ("azimuth_deg", "elevation_deg", "range_m", "score"):
        assert outputs[name].dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(outputs[name]), used)
    assert outputs["position_m"].shape == (2, SCENARIO.max_sources, 3)
    scaled = batch | {"snapshots": 1e4 * batch["snapshots"], "channel": 1e-3 * batch["channel"]}
    for name, value in localizer(SCENARIO, config)(scaled).items():
        np.testing.assert_allclose(value, outputs[name], rtol=1e-4)


@pytest.mark.extended
@pytest.mark.parametrize(("localizer", "config"), LOCALIZERS)
def test_a_known_number_is_reported(localizer, config) -> None:
    scene = {name: np.asarray(value)[None] for name, value in received(FAR_PAIR, 3, 5.0, 24).items()}
    assert localizer(SCENARIO, dataclasses.replace(config, num_sources=2))(scene)["num_sources"][0] == 2


# Identities


def test_fields_are_the_estimate_of_least_mean_square_error(pair: Measurement) -> None:
    """x_l = p Phi^H (p Phi Phi^H + sigma^2 I)^-1 y, for each snapshot."""
    field_power = (1.0 - pair.noise_power) / ARRAY.num_elements
    fields = surface_fields(pair)
    for snapshot, operator, field in zip(pair.snapshots, pair.operator, fields, strict=True):
        covariance = field_power * operator @ operator.conj().T + pair.noise_power * np.eye(len(snapshot))
        np.testing.assert_allclose(field, field_power * operator.conj().T @ np.linalg.inv(covariance) @ snapshot)
    expected = np.mean([np.outer(field, field.conj()) for field in fields], axis=0)
    np.testing.assert_allclose(surface_covariance(pair), expected)


def test_the_sample_spectrum_is_its_definition(pair: Measurement) -> None:
    estimator = SampleMVDR(SCENARIO, SampleMVDRConfig(loading=0.2, grid=GRID))
    sample = surface_covariance(pair)
    inverse = np.linalg.inv(0.8 * sample + 0.2 * np.trace(sample).real / 64 * np.eye(64))
    spectrum = estimator.spectrum(pair).ravel()
    for point in (0, 137, 777):
        vector = estimator.grid.vectors[:, point]
        assert spectrum[point] == pytest.approx(1.0 / np.vdot(vector, inverse @ vector).real)


def test_pursuit_is_its_definition(pair: Measurement) -> None:
    """The first atom is the argmax over all grid points, the second one the argmax for the residual of the first."""
    estimator = PolarOMP(SCENARIO, PolarOMPConfig(grid=GRID, num_sources=2))
    residuals = pair.snapshots.copy()
    chosen, strength = estimator.pursue(pair)
    atoms = np.stack([(operator @ estimator.grid.vectors).T for operator in pair.operator])
    for atom, own in zip(chosen, strength, strict=True):
        explained = np.abs(np.einsum("lgm,lm->lg", atoms.conj(), residuals)) ** 2 / np.sum(np.abs(atoms) ** 2, axis=2)
        assert explained.sum(axis=0).argmax() == atom
        assert own == pytest.approx(explained.sum(axis=0).max() / (len(residuals) * pair.noise_power))
        unit = atoms[:, atom] / np.linalg.norm(atoms[:, atom], axis=1, keepdims=True)
        residuals -= unit * np.sum(unit.conj() * residuals, axis=1, keepdims=True)


def test_noise_alone_gets_no_atom() -> None:
    """Ten scenes at a false-alarm rate of 1 in 100."""
    rng, estimator = np.random.default_rng(5), PolarOMP(SCENARIO, PolarOMPConfig(grid=GRID, false_alarm=0.01))
    alarms = 0
    for _ in range(10):
        silence = received(LOUD) | {"snapshots": normal(rng, 64, SCENARIO.num_antennas), "snr_db": -60.0}
        alarms += len(estimator.locate(**silence).points) > 0
    assert alarms <= stats.binom(10, 0.01).isf(1e-6)


def test_slopes_of_sparse_learning_are_those_of_the_evidence(pair: Measurement) -> None:
    """L (q - v) is the gradient of sum_l log |S_l| + y_l^H S_l^-1 y_l, by central differences."""
    estimator = SBL(SCENARIO, SBLConfig(grid=GRID))
    points, gamma = np.array([100, 400, 800]), np.array([0.3, 0.05, 0.2])
    vectors = estimator.grid.vectors[:, points]

    def evidence(powers: np.ndarray) -> float:
        total = 0.0
        for snapshot, operator in zip(pair.snapshots, pair.operator, strict=True):
            columns = operator @ vectors
            received_covariance = (columns * powers) @ columns.conj().T + pair.noise_power * np.eye(len(snapshot))
            total += np.linalg.slogdet(received_covariance).logabsdet
            total += np.vdot(snapshot, np.linalg.solve(received_covariance, snapshot)).real
        return total

    v, q = estimator.slopes(gamma, pair, points)
    np.testing.assert_allclose(len(pair.snapshots) * (q - v), reference.derivatives(evidence, gamma), rtol=1e-5)


def test_the_antidiagonal_does_not_depend_on_the_range() -> None:
    """For a Fresnel wavefront it is a plane wave of twice the phase at any range, of rank one after smoothing."""
    array = dataclasses.replace(ARRAY, wavefront="fresnel")
    places = array.element_positions_m()
    direction = np.array([np.sin(0.35) * np.cos(0.15), np.sin(0.15)])
    wave = np.exp(2j * array.wavenumber * places @ direction).reshape(8, 8)
    for range_m in (1.0, 7.0):
        vector = steering_vector(0.35, 0.15, range_m, array)
        np.testing.assert_allclose(64 * antidiagonal(np.outer(vector, vector.conj()), array), wave, atol=1e-9)
    smoothed = smoothed_covariance(wave, (5, 5))
    assert np.linalg.matrix_rank(smoothed, tol=1e-9) == 1
    assert music_height(smoothed, wave[:5, :5].reshape(-1, 1), 1)[0] > 1e6


def test_surfaces_without_symmetry_are_refused() -> None:
    odd = RISArray(positions_m=((0.0, 0.0), (0.15, 0.0), (0.0, 0.15)))
    assert is_symmetric(ARRAY) and not is_symmetric(odd)
    with pytest.raises(ValueError, match=r"modified_music: expected a lattice about the origin, got "):
        ModifiedMusic(dataclasses.replace(SCENARIO, array=odd))


def test_peaks_fall_and_end_where_told() -> None:
    spectrum = np.zeros((5, 5, 5))
    spectrum[0, 0, 0], spectrum[2, 2, 2], spectrum[2, 2, 3], spectrum[4, 4, 4] = 1.0, 3.0, 2.5, 2.0
    assert grid_peaks(spectrum, 0.5).tolist() == [62, 124, 0]
    assert grid_peaks(spectrum, 1.5).tolist() == [62, 124]
    assert grid_peaks(spectrum, 0.5, 1).tolist() == [62]


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (SampleMVDRConfig(), "loading", 0.0),
        (SampleMVDRConfig(), "depth_db", -1.0),
        (SampleMVDRConfig(), "num_sources", 0),
        (PolarOMPConfig(), "false_alarm", 0.0),
        (SBLConfig(), "iterations", 0),
        (SBLConfig(), "threshold", 0.0),
        (ModifiedMusicConfig(), "density", 0),
        (ModifiedMusicConfig(), "part", 1.0),
        (ModifiedMusicConfig(), "num_sources", 0),
    ],
)
def test_bad_settings_are_named(config, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{type(config).__name__}\.{field}: .*got "):
        dataclasses.replace(config, **{field: value})
