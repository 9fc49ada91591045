"""Impaired scenes: distributed as configured, and as badly explained by the model as told as theory says."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from models.physics.geometry import Scenario
from tests.references.steering import element_position_m, source_position_m, steering_vector
from tfds_shards.codebook import code_phasors
from tfds_shards.impairments import ImpairmentConfig, displacement_phasors, draw_impairments
from tfds_shards.scene_sets import SCENE_SETS
from tfds_shards.simulator import CONFIGS, Scene, SceneConfig, simulate_scene

ARRAY = Scenario().array
OFF = ImpairmentConfig((-math.inf, -math.inf), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
WAVENUMBER = 2 * math.pi / 0.3


def one_source(impairments: ImpairmentConfig | None, snr_db: float = 200.0) -> SceneConfig:
    """One source a scene through a scattered channel; all such configs share their other draws."""
    return SceneConfig(
        "one_source",
        scenario=Scenario(max_sources=1),
        snr_db=(snr_db, snr_db),
        rician_factor=(0.0, 0.0),
        impairments=impairments,
    )


def unexplained_share(scene: Scene) -> float:
    """Share of the received power outside H diag(c_l) a of the model as told, snapshot by snapshot."""
    vector = steering_vector(scene.azimuth[0], scene.elevation[0], scene.range_m[0], ARRAY)
    received = np.einsum("mn,ln,n->lm", scene.channel, code_phasors(scene.code_phase_index, 3), vector)
    inside = np.abs(np.sum(received.conj() * scene.snapshots, axis=1)) ** 2 / np.sum(np.abs(received) ** 2, axis=1)
    power = np.sum(np.abs(scene.snapshots) ** 2)
    return float((power - inside.sum()) / power)


# What is drawn


@pytest.fixture(scope="module")
def draws() -> list:
    rng = np.random.default_rng(0)
    channel = rng.normal(size=(16, 144, 2)) @ [1, 1j]
    return [(channel, draw_impairments(rng, ImpairmentConfig(), channel, ARRAY)) for _ in range(600)]


@pytest.mark.parametrize(
    ("field", "measured", "deviation"),
    [
        (
            "channel_error_db",
            lambda h, drawn: 10 * math.log10(np.mean(np.abs(drawn.channel_error) ** 2) / np.mean(np.abs(h) ** 2)),
            10 / math.log(10) / math.sqrt(16 * 144),
        ),
        (
            "phase_error_rms_rad",
            lambda h, drawn: np.std(np.angle(drawn.element_response[drawn.element_response != 0])),
            0.3 / math.sqrt(2 * 140),
        ),
        ("dead_share", lambda h, drawn: np.mean(drawn.element_response == 0), 0.5 / 144),
        (
            "position_error_rms_wavelengths",
            lambda h, drawn: np.sqrt(np.mean(drawn.displacement_m**2)) / 0.3,
            0.02 / math.sqrt(2 * 3 * 144),
        ),
        ("snr_error_db", lambda h, drawn: drawn.snr_error_db, 0.0),
    ],
)
def test_sizes_are_uniform_in_their_limits(draws: list, field: str, measured, deviation: float) -> None:
    """Each scene's own size, up to how well so many elements tell it: the test allows for that spread."""
    low, high = getattr(ImpairmentConfig(), field)
    sizes = np.array([measured(channel, drawn) for channel, drawn in draws])
    assert low - 5 * deviation <= sizes.min() and sizes.max() <= high + 5 * deviation
    distance = stats.kstest(sizes, stats.uniform(low, high - low).cdf).statistic
    assert distance < 1.95 / math.sqrt(sizes.size) + deviation / (high - low)  # 1.95: a chance of 0.001


@pytest.mark.promise("inexact channel")
def test_errors_are_independent_and_normal(draws: list) -> None:
    """Circular channel errors, phases and displacements, each over its own size."""
    errors = np.concatenate([d.channel_error.ravel()[:50] / np.std(d.channel_error) for _, d in draws])
    assert abs(np.mean(errors**2)) < 5 / math.sqrt(errors.size)
    assert stats.kstest(np.abs(errors) ** 2, "expon").pvalue > 1e-3
    alive = [d.element_response[d.element_response != 0] for _, d in draws]
    np.testing.assert_allclose(np.abs(np.concatenate(alive)), 1.0, rtol=1e-12)
    phases = np.concatenate([np.angle(a) / np.std(np.angle(a)) for a in alive])
    assert stats.kstest(phases, "norm").statistic < 0.01
    moves = np.concatenate([d.displacement_m / np.std(d.displacement_m) for _, d in draws])
    assert stats.kstest(moves.ravel(), "norm").statistic < 0.01
    np.testing.assert_allclose(np.corrcoef(moves.T), np.eye(3), atol=5 / math.sqrt(len(moves)))


def test_displaced_elements_lie_where_they_are_said_to() -> None:
    """The nominal steering vector times the phasors is the steering vector of the true positions."""
    rng = np.random.default_rng(1)
    displacement_m = 0.006 * rng.normal(size=(144, 3))
    azimuth, elevation, range_m = np.array([0.4, -0.9]), np.array([-0.3, 0.5]), np.array([0.5, 8.0])
    found = displacement_phasors(azimuth, elevation, range_m, displacement_m, ARRAY)
    for k in range(2):
        q = source_position_m(azimuth[k], elevation[k], range_m[k])
        elements = np.array([element_position_m(n, ARRAY) for n in range(144)]) + displacement_m
        true = np.exp(1j * WAVENUMBER * (range_m[k] - np.linalg.norm(q - elements, axis=-1))) / 12
        nominal = steering_vector(azimuth[k], elevation[k], range_m[k], ARRAY)
        np.testing.assert_allclose(nominal * found[k], true, atol=1e-12)


# What it does to a scene


@pytest.mark.parametrize(
    ("impairments", "expected"),
    [
        ({"channel_error_db": (-15.0, -15.0)}, 10**-1.5 / (1 + 10**-1.5)),
        ({"phase_error_rms_rad": (0.3, 0.3)}, 1 - math.exp(-(0.3**2))),
        ({"dead_share": (0.05, 0.05)}, 7 / 144),
        ({"position_error_rms_wavelengths": (0.02, 0.02)}, 1 - math.exp(-((2 * math.pi * 0.02) ** 2))),
    ],
    ids=["channel", "phase", "dead", "position"],
)
def test_the_model_as_told_leaves_the_expected_power_unexplained(impairments: dict, expected: float) -> None:
    """(1 - 1/M) of the error's share: one dimension of M a snapshot is explained whatever it is.

    A channel error of power epsilon leaves epsilon / (1 + epsilon); phases of deviation s leave what of exp(j phase) is
    not its mean, 1 - exp(-s^2); displacements are phases of deviation k0 rms in any direction.
    """
    config = one_source(dataclasses.replace(OFF, **impairments))
    shares = [unexplained_share(simulate_scene(config, "test", index)) for index in range(120)]
    expected *= 15 / 16
    assert np.mean(shares) == pytest.approx(expected, abs=max(4 * stats.sem(shares), 0.01 * expected))
    assert stats.sem(shares) < 0.03 * expected


def test_no_impairment_leaves_nothing_unexplained_and_changes_no_draw() -> None:
    for index in range(5):
        plain, off = (simulate_scene(one_source(impairments), "test", index) for impairments in (None, OFF))
        assert unexplained_share(off) < 1e-6  # the truth is stored in float32
        np.testing.assert_array_equal(plain.snapshots, off.snapshots)
        np.testing.assert_array_equal(plain.channel, off.channel)
        assert plain.snr_db == off.snr_db


def test_reported_snr_is_off_and_the_noise_is_not() -> None:
    """Snapshots follow the real SNR, the scene's is off by what is configured."""
    wrong = dataclasses.replace(OFF, snr_error_db=(1.5, 1.5))
    for index in range(5):
        plain, reported = (
            simulate_scene(one_source(impairments, snr_db=3.0), "test", index) for impairments in (None, wrong)
        )
        np.testing.assert_array_equal(plain.snapshots, reported.snapshots)
        assert plain.snr_db == 3.0
        assert reported.snr_db == pytest.approx(4.5)


def test_channel_told_and_sources_are_drawn_as_without_impairments() -> None:
    """Truth and true channel are untouched: what is told differs from it by the error alone."""
    wrong = dataclasses.replace(OFF, channel_error_db=(-20.0, -20.0))
    ratios = []
    for index in range(20):
        plain, told = (simulate_scene(one_source(impairments), "train", index) for impairments in (None, wrong))
        np.testing.assert_array_equal(plain.range_m, told.range_m)
        np.testing.assert_array_equal(plain.snapshots, told.snapshots)
        ratios.append(np.mean(np.abs(told.channel - plain.channel) ** 2) / np.mean(np.abs(plain.channel) ** 2))
    assert np.mean(ratios) == pytest.approx(0.01, rel=5 / math.sqrt(20 * 16 * 144))


def test_impaired_config_differs_from_the_default_in_its_impairments_alone() -> None:
    impaired = CONFIGS["l64_m64_impaired"]
    assert impaired.impairments == ImpairmentConfig()
    assert dataclasses.replace(impaired, name="l64_m64", impairments=None) == CONFIGS["l64_m64"]
    assert SCENE_SETS["l64_m64_impaired"].config is impaired
    scenes = [simulate_scene(impaired, "train", index) for index in range(300)]
    truth = np.concatenate([scene.range_m[: scene.num_sources] for scene in scenes])
    assert stats.kstest(truth, stats.uniform(0.5, 9.5).cdf).pvalue > 1e-3
    snr_db = np.array([scene.snr_db for scene in scenes])
    assert -7.0 <= snr_db.min() < -5.0 and 20.0 < snr_db.max() <= 22.0


def test_settings_of_unimpaired_configs_are_those_of_sets_written_before() -> None:
    """Sets on disk are compared with their config: one without impairments must not have gained a setting."""
    settings = {
        "name",
        "scenario",
        "num_snapshots",
        "snr_db",
        "rician_factor",
        "line_of_sight",
        "codebook",
        "phase_bits",
    }
    of_array = {"num_horizontal", "num_vertical", "wavelength_m", "spacing_m", "wavefront", "index_offset"}
    added = {
        "l64_m64_impaired": {"impairments"},
        "l64_m64_power": {"transmission"},
        "l64_m64_crowded": {"most_sources"},
    }
    for name in ("l64_m64", "l64_m64_legacy", "l64_m64_rician", "l64_random", "l128_m128", *added):
        assert set(CONFIGS[name].settings()) == settings | added.get(name, set())
        assert set(CONFIGS[name].settings()["scenario"]["array"]) == of_array
    assert set(CONFIGS["l64_m64_pattern"].settings()["scenario"]["array"]) == {
        *of_array,
        "amplitude",
        "element_exponent",
    }
    assert CONFIGS["l64_m64_impaired"].settings()["impairments"]["dead_share"] == (0.0, 0.05)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel_error_db", (-12.0, -25.0)),
        ("phase_error_rms_rad", (-0.1, 0.3)),
        ("dead_share", (0.0, 1.0)),
        ("position_error_rms_wavelengths", (-0.01, 0.02)),
        ("snr_error_db", (1.0, math.nan)),
    ],
)
def test_bad_limits_are_named(field: str, value: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=rf"ImpairmentConfig\.{field}(\[\d\])?: .*got "):
        dataclasses.replace(OFF, **{field: value})
