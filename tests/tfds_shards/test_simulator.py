"""The simulator against its stated model: reproducible, split by split apart, and distributed as it says."""

import dataclasses
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from models.physics.geometry import RISArray, Scenario
from tests.references.steering import steering_vector
from tfds_shards.codebook import code_phasors, dft_phase_index
from tfds_shards.simulator import CONFIGS, SPLITS, Scene, SceneConfig, simulate_scene

ROOT = Path(__file__).parents[2]
DEFAULT = CONFIGS["l64_m64"]
ARRAYS = ("snapshots", "channel", "code_phase_index", "azimuth", "elevation", "range_m", "power")

GOLDEN = {
    "num_sources": 5,
    "snr_db": 11.1494989,
    "azimuth": [0.18527418, 0.68299490, -0.07526791, 0.28274295, 0.65515715],
    "range_m": [9.3727436, 1.4742243, 7.4252048, 7.7196960, 0.61674327],
    "channel": [-0.053026482 + 0.009112485j, 0.033522099 + 0.046695191j],
    "snapshots": [0.00087373960 - 0.0032639264j, 0.0043018446 - 0.0036935122j],
}


def digest(scene: Scene) -> str:
    """A hash of every bit of a scene."""
    content = hashlib.sha256()
    for name in ARRAYS:
        content.update(getattr(scene, name).tobytes())
    content.update(repr((scene.snr_db, scene.num_sources, scene.index)).encode())
    return content.hexdigest()


def noise_free(config: SceneConfig) -> SceneConfig:
    """The same draws at an SNR that leaves only rounding."""
    return dataclasses.replace(config, snr_db=(200.0, 200.0))


def received_vectors(scene: Scene, config: SceneConfig) -> np.ndarray:
    """H diag(c_l) a_k from the reference steering vectors: [L, M, K]."""
    sources = range(scene.num_sources)
    array = config.scenario.array
    vectors = [steering_vector(scene.azimuth[k], scene.elevation[k], scene.range_m[k], array) for k in sources]
    codes = code_phasors(scene.code_phase_index, config.phase_bits)
    return np.einsum("mn,ln,kn->lmk", scene.channel, codes, vectors)


@pytest.fixture(scope="module")
def many_scenes() -> list[Scene]:
    return [simulate_scene(DEFAULT, "train", index) for index in range(1500)]


# Reproducible


@pytest.mark.extended
def test_same_scene_in_any_order_and_in_another_process() -> None:
    numbers = [(name, split, index) for name in CONFIGS for split in SPLITS for index in (0, 7, 123_456)]
    here = [digest(simulate_scene(CONFIGS[name], split, index)) for name, split, index in numbers]
    program = (
        "from tests.tfds_shards.test_simulator import *\n"
        f"for name, split, index in {numbers[::-1]}:\n"
        "    print(digest(simulate_scene(CONFIGS[name], split, index)))\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here[::-1]


def test_splits_configs_and_indices_share_nothing() -> None:
    scenes = [
        simulate_scene(CONFIGS[name], split, index) for name in CONFIGS for split in SPLITS for index in (0, 1, 2)
    ]
    for attribute in ("snapshots", "channel"):
        values = [getattr(scene, attribute).tobytes() for scene in scenes]
        assert len(set(values)) == len(values)
    assert len({scene.snr_db for scene in scenes}) == len(scenes)


def test_scenes_are_those_of_version_1_0_0() -> None:
    """Data on disk carries a version: a change of any draw needs a new one."""
    scene = simulate_scene(DEFAULT, "train", 0)
    assert scene.num_sources == GOLDEN["num_sources"]
    assert scene.snr_db == pytest.approx(GOLDEN["snr_db"], rel=1e-6)
    np.testing.assert_allclose(scene.azimuth, GOLDEN["azimuth"], rtol=1e-5)
    np.testing.assert_allclose(scene.range_m, GOLDEN["range_m"], rtol=1e-5)
    np.testing.assert_allclose(scene.channel[[0, -1], [0, -1]], GOLDEN["channel"], rtol=1e-4)
    np.testing.assert_allclose(scene.snapshots[[0, -1], [0, -1]], GOLDEN["snapshots"], rtol=1e-4)


# Of four scenes of each config, made by commit 670e49a: sets of these names lie on disks, and a scene that is drawn
# anew must be the one that was drawn then. A failure means that a draw has moved; never set a digest anew.
DIGESTS = {
    "l64_m64": "d81633af267ce643",
    "l64_m64_legacy": "a2896e3132ba0a19",
    "l64_m64_rician": "3959ee4782003033",
    "l64_random": "bb4667e0324cd4df",
    "l64_m64_impaired": "f0a07e9ae9618ff6",
    "l16_m16": "b4fc5d1314191e53",
    "l32_m32": "c65ae8af10c8936e",
    "l128_m128": "b332bdcf1b8550e7",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_scenes_are_those_of_670e49a_to_the_last_bit(name: str) -> None:
    digest = hashlib.sha256()
    for split, index in (("train", 0), ("validation", 3), ("test", 0), ("test", 7)):
        scene = simulate_scene(CONFIGS[name], split, index)
        for field in ARRAYS:
            digest.update(np.ascontiguousarray(getattr(scene, field)).tobytes())
        digest.update(np.array([scene.snr_db, scene.num_sources, scene.index]).tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[name]


# The signal model


@pytest.mark.parametrize("name", [*sorted(DIGESTS.keys() - {"l64_m64_impaired"}), "l64_m64_pattern", "l64_m64_sight"])
def test_snapshots_are_a_combination_of_the_sources(name: str) -> None:
    """y_l lies in the span of H diag(c_l) a_k, and the coefficients have variance p_k."""
    config = noise_free(CONFIGS[name])
    ratios = []
    for index in range(12 * 64 // config.num_snapshots):
        scene = simulate_scene(config, "test", index)
        received = received_vectors(scene, config)
        coefficients = np.linalg.pinv(received) @ scene.snapshots[:, :, None]
        residual = scene.snapshots - (received @ coefficients)[..., 0]
        assert np.linalg.norm(residual) < 3e-5 * np.linalg.norm(scene.snapshots)
        if np.linalg.cond(received).max() < 1e3:
            power = scene.power[: scene.num_sources]
            ratios.append(np.abs(coefficients[..., 0]) ** 2 / power)
    drawn = np.concatenate([ratio.ravel() for ratio in ratios])
    assert drawn.size > 1000
    assert drawn.mean() == pytest.approx(1.0, abs=4 / math.sqrt(drawn.size))
    assert stats.kstest(drawn, "expon").pvalue > 1e-3


def test_power_is_the_path_loss(many_scenes: list[Scene]) -> None:
    for scene in many_scenes[:50]:
        used = slice(scene.num_sources)
        path_loss = (0.3 / (4 * math.pi * scene.range_m[used])) ** 2
        np.testing.assert_allclose(scene.power[used], path_loss, rtol=1e-5)


def test_snr_is_the_one_stated(many_scenes: list[Scene]) -> None:
    """sigma^2 from what lies outside the signal subspace, the signal's power from the rest."""
    errors_db = []
    for scene in many_scenes[:300]:
        received = received_vectors(scene, DEFAULT)
        basis = np.linalg.qr(received)[0]
        outside = scene.snapshots[..., None] - basis @ (basis.conj().mT @ scene.snapshots[..., None])
        dimensions = scene.snapshots.size - scene.snapshots.shape[0] * scene.num_sources
        noise_power = np.sum(np.abs(outside) ** 2) / dimensions
        signal_power = np.mean(np.abs(scene.snapshots) ** 2) - noise_power
        if scene.snr_db > 0:
            errors_db.append(10 * math.log10(signal_power / noise_power) - scene.snr_db)
    assert len(errors_db) > 200
    assert np.mean(errors_db) == pytest.approx(0.0, abs=0.05)
    assert np.std(errors_db) < 0.4


def test_unused_slots_are_zero(many_scenes: list[Scene]) -> None:
    for scene in many_scenes[:100]:
        for name in ("azimuth", "elevation", "range_m", "power"):
            values = getattr(scene, name)
            assert values.shape == (5,)
            assert np.all(values[scene.num_sources :] == 0)
            assert np.all(values[: scene.num_sources] != 0)


# Distributions


def test_number_of_sources_is_uniform(many_scenes: list[Scene]) -> None:
    counts = np.bincount([scene.num_sources for scene in many_scenes], minlength=6)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("azimuth", -math.pi / 3, math.pi / 3),
        ("elevation", -math.pi / 6, math.pi / 6),
        ("range_m", 0.5, 10.0),
        ("snr_db", -5.0, 20.0),
    ],
)
def test_draws_are_uniform(many_scenes: list[Scene], name: str, low: float, high: float) -> None:
    values = np.concatenate([np.atleast_1d(getattr(scene, name))[: scene.num_sources] for scene in many_scenes])
    assert low <= values.min() and values.max() <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_sources_may_lie_close_together(many_scenes: list[Scene]) -> None:
    """No least separation: the closest pair of 1,500 scenes is far inside the 5 degree gate."""
    gaps = [
        np.diff(np.sort(scene.azimuth[: scene.num_sources])).min() for scene in many_scenes if scene.num_sources > 1
    ]
    assert min(gaps) < math.radians(0.1)


# The channel


@pytest.mark.parametrize(("line_of_sight", "gain"), [("unit_norm", 1.0), ("true", 144.0)])
def test_channel_power(line_of_sight: str, gain: float) -> None:
    """mean |H_mn|^2 = (kappa gain / N + 1) / (M (kappa + 1)): kappa / N in effect, or kappa itself."""
    kappa = 3.0
    config = dataclasses.replace(DEFAULT, line_of_sight=line_of_sight, rician_factor=(kappa, kappa))
    channels = np.stack([simulate_scene(config, "train", index).channel for index in range(60)])
    expected = (kappa * gain / 144 + 1) / (16 * (kappa + 1))
    assert np.mean(np.abs(channels) ** 2) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("line_of_sight", "modulus"), [("unit_norm", 1 / 48), ("true", 1 / 4)])
def test_line_of_sight_joins_two_plane_waves(line_of_sight: str, modulus: float) -> None:
    config = dataclasses.replace(DEFAULT, line_of_sight=line_of_sight, rician_factor=(1e12, 1e12))
    for index in range(5):
        channel = simulate_scene(config, "train", index).channel.reshape(16, 12, 12)
        np.testing.assert_allclose(np.abs(channel), modulus, rtol=1e-4)
        for axis in range(3):
            step = np.delete(channel, 0, axis) / np.delete(channel, -1, axis)
            np.testing.assert_allclose(step, step[0, 0, 0], atol=1e-3)


def test_scattering_is_circular_and_gaussian() -> None:
    config = dataclasses.replace(DEFAULT, rician_factor=(0.0, 0.0))
    entries = simulate_scene(config, "train", 0).channel.ravel() * 4
    assert abs(np.mean(entries**2)) < 0.1
    assert stats.kstest(entries.real, stats.norm(scale=math.sqrt(0.5)).cdf).pvalue > 1e-3
    assert stats.kstest(np.abs(entries) ** 2, "expon").pvalue > 1e-3


# Codes


def test_dft_codes_are_the_quantised_codebook() -> None:
    expected = np.empty((64, 144), int)
    for code in range(64):
        for n in range(144):
            turns = -((code // 8) * (n // 12) + (code % 8) * (n % 12)) / 12
            expected[code, n] = round(8 * turns) % 8
    index = dft_phase_index(RISArray(), 64, 3)
    assert index.dtype == np.uint8
    np.testing.assert_array_equal(index, expected)
    assert len({row.tobytes() for row in index}) == 64


def test_dft_codes_are_orthogonal_but_for_the_quantisation() -> None:
    exact = code_phasors(dft_phase_index(RISArray(16, 8), 128, 8), 8)
    np.testing.assert_allclose(exact @ exact.conj().T, 128 * np.eye(128), atol=1e-9)
    coarse = code_phasors(dft_phase_index(RISArray(), 64, 3), 3)
    leakage = np.abs(coarse @ coarse.conj().T / 144 - np.eye(64))
    assert 0 < leakage.max() < 0.5


@pytest.mark.parametrize("num_snapshots", [1, 16, 32, 64, 100, 144])
def test_dft_codes_differ_for_any_number_of_snapshots(num_snapshots: int) -> None:
    config = dataclasses.replace(DEFAULT, num_snapshots=num_snapshots)
    index = simulate_scene(config, "train", 0).code_phase_index
    assert index.shape == (num_snapshots, 144)
    assert len({row.tobytes() for row in index}) == num_snapshots


def test_dft_codes_are_the_same_in_every_scene_and_random_ones_are_not() -> None:
    first, second = (simulate_scene(DEFAULT, "train", index).code_phase_index for index in (0, 1))
    np.testing.assert_array_equal(first, second)
    first, second = (simulate_scene(CONFIGS["l64_random"], "train", index).code_phase_index for index in (0, 1))
    assert np.mean(first == second) < 0.2
    assert stats.chisquare(np.bincount(first.ravel(), minlength=8)).pvalue > 1e-3


@pytest.mark.parametrize("phase_bits", [1, 2, 8])
def test_phase_bits_set_the_number_of_levels(phase_bits: int) -> None:
    config = dataclasses.replace(CONFIGS["l64_random"], phase_bits=phase_bits)
    index = simulate_scene(config, "train", 0).code_phase_index
    assert np.unique(index).size == 2**phase_bits


# Configs


def test_legacy_config_has_the_predecessors_elements() -> None:
    array = CONFIGS["l64_m64_legacy"].scenario.array
    assert array.wavefront == "fresnel"
    indices = array.element_positions_m() / array.spacing_m
    np.testing.assert_allclose(indices[:12, 0], np.arange(-6, 6), atol=1e-12)
    np.testing.assert_allclose(indices[::12, 1], np.arange(-6, 6), atol=1e-12)
    legacy = dataclasses.replace(CONFIGS["l64_m64_legacy"], name="l64_m64", scenario=Scenario())
    assert legacy == DEFAULT


def test_another_installation() -> None:
    """Shapes follow the scenario: 8 antennas, a 6 x 4 surface, 2 sources, 20 snapshots."""
    scenario = Scenario(array=RISArray(num_horizontal=6, num_vertical=4), num_antennas=8, max_sources=2)
    scene = simulate_scene(SceneConfig("small", scenario=scenario, num_snapshots=20), "validation", 3)
    assert scene.snapshots.shape == (20, 8) and scene.snapshots.dtype == np.complex64
    assert scene.channel.shape == (8, 24) and scene.channel.dtype == np.complex64
    assert scene.code_phase_index.shape == (20, 24)
    assert scene.azimuth.shape == (2,) and scene.azimuth.dtype == np.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_snapshots", 0),
        ("num_snapshots", 145),
        ("snr_db", (20.0, -5.0)),
        ("rician_factor", (-1.0, 2.0)),
        ("line_of_sight", "strong"),
        ("codebook", "hadamard"),
        ("phase_bits", 0),
        ("phase_bits", 9),
    ],
)
def test_bad_settings_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"SceneConfig\.{field}(\[\d\])?: .*got "):
        dataclasses.replace(DEFAULT, **{field: value})


@pytest.mark.parametrize(
    ("split", "index", "named"), [("dev", 0, "split"), ("train", -1, "index"), ("test", 2**32, "index")]
)
def test_bad_numbers_are_named(split: str, index: int, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        simulate_scene(DEFAULT, split, index)
