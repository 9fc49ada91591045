"""Classical estimators against slow references and the bound, and the bound against its definition."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from models.baselines.back_projection import BackProjection, BackProjectionConfig, back_projection_localizer
from models.baselines.crb import information, position_bound, position_slopes, scene_bounds
from models.baselines.likelihood import evaluate_likelihood
from models.baselines.measurement import Measurement, measure
from models.baselines.sequential_ml import (
    SequentialML,
    SequentialMLConfig,
    best_power_llr,
    refine,
    sequential_ml_localizer,
)
from models.covariance_estimator.config import GridConfig
from models.physics.geometry import RISArray, Scenario
from tests.references import likelihood as reference
from tests.references.steering import source_position_m, steering_vector
from tests.simulated import INPUTS, batch_of
from tfds_shards.impairments import ImpairmentConfig
from tfds_shards.simulator import SceneConfig

ARRAY = RISArray(8, 8)
SCENARIO = Scenario(array=ARRAY, num_antennas=8, max_sources=4)
GRID = GridConfig(14, 9, 8)
NEAR_PAIR = np.array([[0.4, 0.2, 1.0 / 0.8, 0.0], [-0.5, -0.1, 1.0 / 1.5, -0.5]])
"""Azimuth, elevation, inverse range, log power."""


class Installation:
    """A channel and codes, and random measurements through them."""

    def __init__(self, seed: int, num_snapshots: int = 48) -> None:
        self.rng = np.random.default_rng(seed)
        num_elements = ARRAY.num_elements
        self.channel = self.normal(SCENARIO.num_antennas, num_elements)
        self.codes = np.exp(2j * np.pi * self.rng.integers(8, size=(num_snapshots, num_elements)) / 8)
        self.operator = self.channel * self.codes[:, None, :]

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(scale=np.sqrt(0.5), size=(*shape, 2)) @ [1, 1j]

    def receive(self, parameters: np.ndarray, noise_power: float) -> dict[str, np.ndarray | float]:
        """One draw of symbols and noise, and its realised SNR."""
        vectors = [steering_vector(az, el, 1.0 / w, ARRAY) * np.exp(0.5 * power) for az, el, w, power in parameters]
        symbols = self.normal(len(self.codes), len(parameters))
        clean = np.einsum("lmn,kn,lk->lm", self.operator, vectors, symbols)
        noise = np.sqrt(noise_power) * self.normal(*clean.shape)
        snr_db = 10.0 * np.log10(np.mean(np.abs(clean) ** 2) / noise_power)
        return {"snapshots": clean + noise, "ris_codes": self.codes, "channel": self.channel, "snr_db": snr_db}


@pytest.fixture(scope="module")
def estimator() -> SequentialML:
    return SequentialML(SCENARIO, SequentialMLConfig(grid=GRID))


@pytest.fixture(scope="module")
def noisy() -> Measurement:
    return measure(**Installation(1).receive(NEAR_PAIR, 20.0))


THREE = np.vstack([NEAR_PAIR, [[0.1, 0.3, 0.3, -1.0]]])
"""Parameters at which the likelihood is checked: not where it is largest."""


# The likelihood


def test_likelihood_is_that_of_the_reference(noisy: Measurement) -> None:
    def nll(parameters: np.ndarray) -> float:
        return reference.nll(parameters, noisy.noise_power, noisy.operator, noisy.snapshots, ARRAY)

    found = evaluate_likelihood(THREE, noisy, ARRAY)
    assert found.nll == pytest.approx(nll(THREE), rel=1e-10)
    np.testing.assert_allclose(found.gradient.ravel(), reference.derivatives(nll, THREE), rtol=1e-5, atol=1e-3)
    lost = [nll(np.delete(THREE, k, axis=0)) - nll(THREE) for k in range(3)]
    np.testing.assert_allclose(found.llr, lost, rtol=1e-8)


def test_ratio_of_a_new_source_is_exact_and_its_power_the_best(estimator: SequentialML, noisy: Measurement) -> None:
    """The ratio from alpha and b equals the likelihood ratio with the source added, over a fine sweep of its power."""
    added = estimator.best_grid_source(NEAR_PAIR[:1], noisy, estimator.grid.energy(noisy))
    before = evaluate_likelihood(NEAR_PAIR[:1], noisy, ARRAY).nll

    def llr(log_power: float) -> float:
        source = np.append(added[:3], log_power)
        return before - evaluate_likelihood(np.vstack([NEAR_PAIR[:1], source]), noisy, ARRAY).nll

    sweep = [llr(added[3] + step) for step in np.linspace(-2.0, 2.0, 81)]
    assert llr(added[3]) == pytest.approx(max(sweep), abs=1e-3) and np.argmax(sweep) == 40
    inverse = np.linalg.inv(reference.covariances(NEAR_PAIR[:1], noisy.noise_power, noisy.operator, ARRAY))
    response = noisy.operator @ steering_vector(added[0], added[1], 1.0 / added[2], ARRAY)
    alpha = np.einsum("lm,lmn,ln->l", response.conj(), inverse, response).real
    b = np.abs(np.einsum("lm,lmn,ln->l", response.conj(), inverse, noisy.snapshots)) ** 2
    value, log_power = best_power_llr(alpha[:, None], b[:, None])
    assert value[0] == pytest.approx(max(sweep), abs=1e-3)
    assert log_power[0] == pytest.approx(added[3], abs=1e-3)


def test_no_power_gains_where_nothing_is_received() -> None:
    llr, log_power = best_power_llr(np.ones((5, 2)), np.array([[0.1, 3.0]] * 5))
    assert llr[0] == 0.0 and log_power[0] == -np.inf
    assert llr[1] == pytest.approx(5 * (2.0 - np.log(3.0))) and log_power[1] == pytest.approx(np.log(2.0))


# The bound


PATTERN = dataclasses.replace(ARRAY, amplitude="spherical", element_exponent=1.0)


@pytest.mark.parametrize("array", [ARRAY, PATTERN], ids=["uniform", "pattern"])
@pytest.mark.parametrize("noise_known", [True, False])
def test_information_is_its_definition(noisy: Measurement, noise_known: bool, array: RISArray) -> None:
    """sum_l tr(S^-1 dS_i S^-1 dS_j) with dS by central differences."""
    point = THREE.ravel() if noise_known else np.append(THREE, np.log(noisy.noise_power))

    def covariance(values: np.ndarray) -> np.ndarray:
        noise_power = noisy.noise_power if noise_known else np.exp(values[-1])
        return reference.covariances(values[:12].reshape(3, 4), noise_power, noisy.operator, array)

    expected = reference.fisher_information(reference.derivatives(covariance, point), covariance(point))
    found = information(THREE, noisy, array, noise_known=noise_known)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    if noise_known:
        own = evaluate_likelihood(THREE, noisy, array).fisher
        np.testing.assert_allclose(own.reshape(12, 12), found, rtol=1e-9, atol=1e-9 * np.abs(found).max())


def test_position_slopes_are_derivatives_of_the_position() -> None:
    for point, slopes in zip(THREE[:, :3], position_slopes(THREE[:, :3]), strict=True):
        expected = reference.derivatives(lambda x: source_position_m(x[0], x[1], 1.0 / x[2]), point)
        np.testing.assert_allclose(slopes, expected.T, rtol=1e-6, atol=1e-7)


def test_not_knowing_more_never_lowers_the_bound(noisy: Measurement) -> None:
    """An unknown noise power or an additional source never makes the covariance C smaller."""
    known, unknown = (
        position_bound(information(THREE, noisy, ARRAY, noise_known=noise_known), THREE).covariance_m2
        for noise_known in (True, False)
    )
    alone = position_bound(information(THREE, noisy, ARRAY)[:8, :8], THREE[:2]).covariance_m2
    for larger, smaller in ((unknown, known), (known[:2], alone)):
        eigenvalues = np.linalg.eigvalsh(larger - smaller)
        assert np.all(eigenvalues > -1e-9 * np.trace(larger, axis1=-2, axis2=-1)[:, None])
        assert np.all(eigenvalues[:, -1] > 0)


def test_bounds_of_simulated_scenes_do_not_depend_on_the_scale() -> None:
    scenes = batch_of(3)
    bound = scene_bounds(scenes, Scenario().array)
    used = np.arange(5) < scenes["num_sources"][:, None]
    assert np.all(np.isfinite(bound.error_m) == used)
    np.testing.assert_allclose(bound.error_m[used] ** 2, np.trace(bound.covariance_m2[used], axis1=1, axis2=2))
    louder = scenes | {"snapshots": 1e3 * scenes["snapshots"], "power": 1e6 * scenes["power"]}
    np.testing.assert_allclose(scene_bounds(louder, Scenario().array).error_m, bound.error_m, rtol=1e-4)


# Sequential maximum likelihood


@pytest.mark.extended
def test_errors_at_high_snr_are_those_of_the_bound(estimator: SequentialML) -> None:
    """e^T C^-1 e over 60 draws of symbols and noise is chi-square with three degrees of freedom per source and draw."""
    installation, noise_power, draws = Installation(2), 0.3, 60
    measurement = Measurement(np.zeros((0, 0)), installation.operator, noise_power)
    bound = position_bound(information(NEAR_PAIR, measurement, ARRAY), NEAR_PAIR).covariance_m2
    truth = np.array([source_position_m(az, el, 1.0 / w) for az, el, w, _ in NEAR_PAIR])
    distances, reported = [], []
    for _ in range(draws):
        report = estimator.locate(**installation.receive(NEAR_PAIR, noise_power))
        assert len(report.points) == 2
        order = np.argsort(-report.points[:, 0])  # the first source has the larger azimuth
        found = np.array([source_position_m(az, el, 1.0 / w) for az, el, w in report.points[order]])
        distances.append(np.einsum("ki,kij,kj->k", found - truth, np.linalg.inv(bound), found - truth))
        reported.append(report.position_cov_m2[order])
    low, high = stats.chi2(3 * draws).ppf([1e-4, 1 - 1e-4])
    for total in np.sum(distances, axis=0):
        assert low < total < high
    np.testing.assert_allclose(np.mean(reported, axis=0), bound, rtol=0.25, atol=0.05 * np.abs(bound).max())


@pytest.mark.promise("sequential maximum likelihood")
def test_separated_sources_are_found_where_the_truth_is_most_likely(estimator: SequentialML) -> None:
    """The number of sources is correct, and no point near the truth is more likely."""
    sources = np.array([[0.6, 0.3, 0.5, 0.0], [-0.6, 0.2, 0.8, -0.5], [0.0, -0.3, 0.2, 0.5]])
    for seed in range(4):
        measurement = measure(**Installation(10 + seed).receive(sources, 3.0))
        parameters, likelihood = estimator.estimate(measurement)
        assert len(parameters) == 3
        from_truth = sources - np.array([0, 0, 0, np.log(2 * ARRAY.num_elements)])
        best = refine(from_truth, measurement, ARRAY, SCENARIO.field_of_view, estimator.config)[1]
        assert likelihood.nll < best.nll + 2 * estimator.config.tolerance
        np.testing.assert_allclose(parameters[np.argsort(parameters[:, 0]), :2], sources[[1, 2, 0], :2], atol=0.05)


@pytest.mark.extended
def test_noise_alone_has_no_source(estimator: SequentialML) -> None:
    installation = Installation(3)
    for _ in range(20):
        silence = installation.receive(NEAR_PAIR, 1.0) | {"snapshots": installation.normal(48, 8), "snr_db": -40.0}
        assert len(estimator.locate(**silence).points) == 0


@pytest.mark.extended
def test_noise_inflation_keeps_a_wrong_channel_from_looking_like_sources() -> None:
    """A channel error of -13 dB at 25 dB SNR leaves a residual 12 dB above the reported noise."""
    off = (0.0, 0.0)
    wrong = SceneConfig(
        "wrong_channel",
        scenario=dataclasses.replace(SCENARIO, max_sources=2),
        num_snapshots=48,
        snr_db=(25.0, 25.0),
        impairments=ImpairmentConfig((-13.0, -13.0), off, off, off, off),
    )
    scenes = batch_of(10, wrong)
    found = {}
    for noise_inflation in (0.0, 0.2):
        config = SequentialMLConfig(grid=GRID, noise_inflation=noise_inflation)
        found[noise_inflation] = sequential_ml_localizer(SCENARIO, config)(scenes)["num_sources"].sum()
    true = scenes["num_sources"].sum()
    assert found[0.0] > 1.5 * true
    assert found[0.2] <= 1.1 * true and found[0.2] >= 0.5 * true


def test_noise_inflation_is_a_share_of_the_signal() -> None:
    """The noise power of a scene of unit power is sigma^2 (1 + c SNR)."""
    received = Installation(4).receive(NEAR_PAIR, 1.0)
    plain, raised = measure(**received), measure(**received, noise_inflation=0.2)
    assert np.mean(np.abs(plain.snapshots) ** 2) == pytest.approx(1.0)
    signal_power = 1.0 - plain.noise_power
    assert raised.noise_power == pytest.approx(plain.noise_power + 0.2 * signal_power)
    assert signal_power / plain.noise_power == pytest.approx(10.0 ** (received["snr_db"] / 10.0))


# Back-projection


def test_pseudo_inverse_spectrum_is_its_definition(noisy: Measurement) -> None:
    back_projection = BackProjection(SCENARIO, BackProjectionConfig(grid=GRID))
    spectrum = back_projection.spectrum(noisy)
    inverse = np.linalg.pinv(noisy.operator)
    fields = (inverse @ noisy.snapshots[..., None])[..., 0]
    for point in (0, 137, 777):
        vector = back_projection.grid.vectors[:, point]
        power = np.sum(np.abs(fields @ vector.conj()) ** 2)
        seen = np.einsum("i,lim,lmj,j->", vector.conj(), inverse, noisy.operator, vector).real
        assert spectrum.ravel()[point] == pytest.approx(power / seen)


@pytest.mark.parametrize("projection", ["matched_filter", "pseudo_inverse"])
def test_back_projection_finds_a_source_on_its_grid(projection: str) -> None:
    config = BackProjectionConfig(projection=projection, grid=GRID, depth_db=0.0)
    back_projection = BackProjection(SCENARIO, config)
    source = back_projection.grid.points[[512]]
    received = Installation(5).receive(np.append(source, [[0.0]], axis=1), 1e-3)
    np.testing.assert_array_equal(back_projection.locate(**received).points, source)


# Both, as estimators of batches


@pytest.fixture(scope="module")
def pair_batch() -> dict[str, np.ndarray]:
    draws = [Installation(6).receive(NEAR_PAIR, 1.0), Installation(7).receive(NEAR_PAIR[:1], 1.0)]
    return {name: np.stack([draw[name] for draw in draws]) for name in INPUTS}


@pytest.mark.parametrize(
    ("localizer", "config"),
    [
        (sequential_ml_localizer, SequentialMLConfig(grid=GRID)),
        (back_projection_localizer, BackProjectionConfig(grid=GRID, depth_db=10.0)),
    ],
)
def test_answers_have_the_localizers_form(localizer, config, pair_batch: dict[str, np.ndarray]) -> None:
    outputs = localizer(SCENARIO, config)(pair_batch)
    assert outputs["num_sources"].shape == (2,) and outputs["num_sources"].dtype == np.int32
    assert outputs["num_sources"].min() >= 1
    used = np.arange(SCENARIO.max_sources) < outputs["num_sources"][:, None]
    for name in ("azimuth_deg", "elevation_deg", "range_m", "score", "position_m"):
        value = outputs[name].reshape(2, SCENARIO.max_sources, -1)
        assert value.dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(value).all(axis=-1), used)
    assert all(np.all(np.diff(score[mask]) <= 0) for score, mask in zip(outputs["score"], used, strict=True))
    scene, slot = np.nonzero(used)
    for b, k in zip(scene, slot, strict=True):
        angles = np.radians([outputs[name][b, k] for name in ("azimuth_deg", "elevation_deg")])
        expected = source_position_m(*angles, outputs["range_m"][b, k])
        np.testing.assert_allclose(outputs["position_m"][b, k], expected, atol=1e-5)


def test_no_answer_depends_on_the_scale(pair_batch: dict[str, np.ndarray]) -> None:
    scaled = pair_batch | {"snapshots": 1e4 * pair_batch["snapshots"], "channel": 1e-3 * pair_batch["channel"]}
    for localize in (
        sequential_ml_localizer(SCENARIO, SequentialMLConfig(grid=GRID)),
        back_projection_localizer(SCENARIO, BackProjectionConfig(grid=GRID)),
    ):
        outputs, rescaled = localize(pair_batch), localize(scaled)
        for name, value in outputs.items():
            np.testing.assert_allclose(value, rescaled[name], rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (SequentialMLConfig(), "min_llr", 0.0),
        (SequentialMLConfig(), "tolerance", 0.0),
        (SequentialMLConfig(), "noise_inflation", -0.1),
        (SequentialMLConfig(), "max_steps", 0),
        (BackProjectionConfig(), "projection", "inverse"),
        (BackProjectionConfig(), "depth_db", -1.0),
    ],
)
def test_bad_settings_are_named(config, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{type(config).__name__}\.{field}: .*got "):
        dataclasses.replace(config, **{field: value})
