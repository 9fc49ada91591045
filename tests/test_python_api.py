"""`import ris_mvdr`: what a script on a laptop does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ris_mvdr
import serving.client
from models.physics.installation import load_installation
from tfds_shards.codebook import code_phasors
from tfds_shards.simulator import CONFIGS, simulate_scene

ROOT = Path(__file__).parents[1]
LAB = ROOT / "docs" / "installations" / "lab.toml"
INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")


def arrays_of(measurement: ris_mvdr.Measurement) -> dict[str, np.ndarray]:
    return {name: getattr(measurement, name) for name in INPUTS}


@pytest.fixture(scope="module")
def localizer() -> ris_mvdr.Localizer:
    return ris_mvdr.load_localizer(effort="fast")


@pytest.fixture(scope="module")
def simulated() -> ris_mvdr.Simulation:
    return ris_mvdr.simulate("l64_m64", scenes=3)


@pytest.fixture(scope="module")
def located(localizer: ris_mvdr.Localizer, simulated: ris_mvdr.Simulation) -> list[ris_mvdr.Scene]:
    return localizer.locate(simulated)


def assert_same(one: list[ris_mvdr.Scene], other: list[ris_mvdr.Scene], tolerance: float) -> None:
    assert [scene.num_sources for scene in one] == [scene.num_sources for scene in other]
    for first, second in zip(one, other, strict=True):
        for a, b in zip(first.sources, second.sources, strict=True):
            assert a.to_dict().keys() == b.to_dict().keys()
            for name, value in a.to_dict().items():
                np.testing.assert_allclose(value, b.to_dict()[name], rtol=tolerance, atol=tolerance, err_msg=name)


# Imports


def run(code: str, *packages: str) -> list[str]:
    """Those of the packages that a program has loaded at its end."""
    program = f"{code}\nimport sys\nprint([name for name in {packages!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout.splitlines()[-1])


def test_the_import_does_not_load_tensorflow() -> None:
    heavy = ("tensorflow", "keras", "matplotlib", "scipy", "pipeline")
    assert run("import ris_mvdr", *heavy) == []
    asked = "import ris_mvdr\nris_mvdr.LocalizerClient, ris_mvdr.Scene, ris_mvdr.Source, ris_mvdr.read_measurement"
    assert run(asked, *heavy) == []


def test_every_name_is_there() -> None:
    for name in (*ris_mvdr.__all__, "load_localizer", "LocalizerClient", "Scene", "Source", "read_measurement"):
        assert getattr(ris_mvdr, name).__name__ == name
        assert name in dir(ris_mvdr)
    for name in ("LocalizerClient", "Scene", "Source", "ServerError"):
        assert getattr(ris_mvdr, name) is getattr(serving.client, name)
    with pytest.raises(AttributeError, match="has no attribute 'localizer'"):
        _ = ris_mvdr.localizer


# Simulated scenes


@pytest.mark.promise("default scenes")
def test_simulated_scenes_are_those_of_the_set(simulated: ris_mvdr.Simulation) -> None:
    assert len(simulated) == len(simulated.truth) == 3
    for number, truth in enumerate(simulated.truth):
        scene = simulate_scene(CONFIGS["l64_m64"], "test", number)
        np.testing.assert_array_equal(simulated.snapshots[number], scene.snapshots)
        np.testing.assert_array_equal(simulated.channel[number], scene.channel)
        np.testing.assert_allclose(simulated.ris_codes[number], code_phasors(scene.code_phase_index, 3), atol=1e-6)
        assert simulated.snr_db[number] == np.float32(scene.snr_db)
        assert truth.num_sources == scene.num_sources
        for slot, source in enumerate(truth.sources):
            assert source.azimuth_deg == pytest.approx(np.degrees(scene.azimuth[slot]), abs=1e-4)
            assert source.elevation_deg == pytest.approx(np.degrees(scene.elevation[slot]), abs=1e-4)
            assert source.range_m == pytest.approx(scene.range_m[slot], rel=1e-6)
            assert np.linalg.norm(source.position_m) == pytest.approx(source.range_m, rel=1e-9)


@pytest.mark.promise("own surface")
def test_other_splits_and_installations_give_other_scenes(simulated: ris_mvdr.Simulation) -> None:
    other = ris_mvdr.simulate("l64_m64", scenes=1, split="validation")
    assert not np.allclose(other.snapshots[0], simulated.snapshots[0])
    lab = load_installation(LAB)
    own = ris_mvdr.simulate("l64_m64", scenes=2, installation=LAB)
    assert own.channel.shape == (2, lab.num_antennas, lab.array.num_elements)
    for truth in own.truth:
        assert 1 <= truth.num_sources <= lab.max_sources
        assert all(0.3 <= source.range_m <= 5.0 for source in truth.sources)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "l64_m65"}, "name: expected one of l64_m64,"),
        ({"scenes": 0}, "scenes: expected a whole number of at least 1, got 0"),
        ({"split": "tests"}, "split: expected one of train, validation, test, got 'tests'"),
        ({"installation": "nowhere.toml"}, "nowhere.toml: expected a TOML file"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(options: dict, words: str) -> None:
    with pytest.raises(ValueError) as error:
        ris_mvdr.simulate(**options)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


# Locating


@pytest.mark.promise("python", "several sources", "pretrained weights", "effort")
def test_sources_are_found(located: list[ris_mvdr.Scene], simulated: ris_mvdr.Simulation) -> None:
    """Loud sources of the default set, near their true places and within their errors."""
    loud = [number for number in range(len(located)) if simulated.snr_db[number] > 5.0]
    assert loud
    for number in loud:
        found, truth = located[number], simulated.truth[number]
        assert found.sources
        assert found.model_version is None
        for source in found.sources:
            distance_m = np.linalg.norm(truth.positions_m - source.position_m, axis=1).min()
            assert distance_m < 6.0 * source.position_error_m
            assert 0.0 <= source.score <= 1.0


def test_files_measurements_and_arrays_are_located_alike(
    localizer: ris_mvdr.Localizer, located: list[ris_mvdr.Scene], simulated: ris_mvdr.Simulation, tmp_path: Path
) -> None:
    path = tmp_path / "measurement.npz"
    simulated.save(path)
    arrays = arrays_of(simulated)
    assert localizer.locate(path) == located
    assert localizer.locate(str(path)) == located
    assert localizer.locate(ris_mvdr.read_measurement(path)) == located
    assert localizer.locate(arrays) == located
    assert localizer.locate(**arrays) == located
    assert localizer.locate(*arrays.values()) == located
    received = np.mean(np.abs(simulated.snapshots) ** 2, axis=(1, 2))
    noise_power = received / (1.0 + 10.0 ** (simulated.snr_db / 10.0))
    del arrays["snr_db"]
    assert_same(localizer.locate(**arrays, noise_power=noise_power), located, 1e-2)
    assert_same(localizer.locate(path, noise_power=noise_power), located, 1e-2)


def test_many_scenes_are_located_a_few_at_a_time(
    localizer: ris_mvdr.Localizer, located: list[ris_mvdr.Scene], simulated: ris_mvdr.Simulation
) -> None:
    """No more than the batch size is asked of the scenes at once."""
    asked = []

    class Watched:
        num_antennas, num_elements = simulated.num_antennas, simulated.num_elements

        def batches(self, size: int):
            asked.append(size)
            yield from simulated.batches(size)

    assert_same(localizer.locate(Watched(), batch_size=2), located, 1e-2)
    localizer.locate(Watched())
    assert asked == [2, 32]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: {"ris_codes": np.angle(arrays["ris_codes"])}, "ris_codes: expected complex"),
        (lambda arrays: {"snapshots": arrays["snapshots"].swapaxes(1, 2)}, "snapshots: expected shape [B, L, M]"),
        (lambda arrays: {"channel": arrays["channel"].swapaxes(1, 2)}, "channel: expected shape [B, M, N]"),
        (lambda arrays: {"ris_codes": arrays["ris_codes"].swapaxes(1, 2)}, "ris_codes: expected shape [B, L, N]"),
        (lambda arrays: {"snapshots": 0.0 * arrays["snapshots"]}, "snapshots: expected numbers other than zero"),
        (lambda arrays: {"snapshots": np.nan * arrays["snapshots"]}, "snapshots: expected finite numbers"),
        (lambda arrays: {"snr_db": 2000.0}, "snr_db: expected dB between -100 and 100, got 2000"),
        (lambda arrays: {"snr_db": None}, "snr_db: expected either snr_db or noise_power, got neither"),
        (lambda arrays: {"noise_power": 1.0}, "got snr_db and noise_power"),
        (lambda arrays: {"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        (lambda arrays: {"measurement": "m.npz"}, "measurement: expected either a file or arrays, got both"),
        (
            lambda arrays: {"ris_codes": arrays["ris_codes"][..., :9], "channel": arrays["channel"][..., :9]},
            "channel: expected N = 144 as the installation, got 9",
        ),
        (
            lambda arrays: {"snapshots": arrays["snapshots"][..., :4], "channel": arrays["channel"][:, :4]},
            "channel: expected M = 16 as the installation, got 4",
        ),
    ],
)
def test_what_cannot_be_located_is_one_line(
    localizer: ris_mvdr.Localizer, simulated: ris_mvdr.Simulation, change, words: str
) -> None:
    arrays = arrays_of(simulated)
    with pytest.raises(ValueError) as error:
        localizer.locate(**{**arrays, **change(arrays)})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_absent_file_is_named(localizer: ris_mvdr.Localizer) -> None:
    with pytest.raises(ValueError, match=r"^nowhere\.npz: expected a measurement file, found none$"):
        localizer.locate("nowhere.npz")


def test_conjugated_snapshots_give_no_source_and_a_hint(
    localizer: ris_mvdr.Localizer, simulated: ris_mvdr.Simulation
) -> None:
    first = simulated.inputs(0, 1)
    (scene,) = localizer.locate(**{**first, "snapshots": first["snapshots"].conj()})
    assert scene.num_sources == 0
    assert "conjugated" in scene.hint


# Loading


def test_a_localizer_says_what_it_is(localizer: ris_mvdr.Localizer) -> None:
    assert localizer.installation.num_antennas == 16
    for part in ("144 elements", "16 antennas", "pretrained", "fast"):
        assert part in repr(localizer)
    own = ris_mvdr.load_localizer(LAB, untrained=True)
    assert own.installation == load_installation(LAB)
    assert "untrained" in repr(own) and "8 antennas" in repr(own)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"installation": "nowhere.toml"}, "nowhere.toml: expected a TOML file"),
        ({"effort": "slow"}, "effort: expected one of fast, default, thorough, got 'slow'"),
        ({"calibration": "nowhere.npz"}, "nowhere.npz: expected a calibration file, found none"),
        ({"weights": "nowhere.keras"}, "weights: expected a backbone.keras file, got nowhere.keras"),
        ({"weights": "own.keras", "untrained": True}, "untrained: expected either untrained or weights, got both"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(options: dict, words: str) -> None:
    with pytest.raises(ValueError) as error:
        ris_mvdr.load_localizer(**options)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [100, 144])
def test_a_calibration_of_another_surface_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "calibration.npz"
    np.savez(path, element_response=np.ones(size, np.complex64), about=np.array('{"surface": {"wavelength_m": 0.4}}'))
    with pytest.raises(ValueError, match=r"^calibration: expected one of .*surface") as error:
        ris_mvdr.load_localizer(calibration=path)
    assert "\n" not in str(error.value)
