"""`python -m pipeline.calibrate` on a small installation, from files to files: resume, update, check, rejected inputs.

The rig `tests.rigs.calibration` draws the installation; run by itself, it measures installations of full size.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.covariance_estimator.backbone import Backbone
from models.covariance_estimator.config import RefinementConfig
from models.physics.geometry import RISArray, Scenario
from pipeline.calibrate import __main__ as stage
from pipeline.calibrate import running
from pipeline.calibrate.anchors import Anchors, read_anchors
from pipeline.calibrate.calibrating import calibrate, check, update
from pipeline.calibrate.files import StoredCalibration, provenance, read_stored, write_calibration
from pipeline.calibrate.fitting import Fit, FitState
from pipeline.calibrate.options import CalibrateOptions, FitConfig
from pipeline.calibrate.scenes import SceneModel, open_scenes
from serving.client.calibration import read_calibration
from tests.conftest import TINY
from tests.rigs.calibration.__main__ import response_error
from tests.rigs.calibration.installations import INPUTS, Errors, Installed, draw_installation, draw_scenes
from tfds_shards.simulator import SceneConfig

SCENARIO = Scenario(array=RISArray(6, 5), num_antennas=8, max_sources=2)
WORLD = SceneConfig("calibration", SCENARIO, num_snapshots=32, snr_db=(10.0, 20.0), codebook="random")
ERRORS = Errors(phase_rms_rad=0.4, dead_share=0.1)
NUM_SCENES = 24


@dataclasses.dataclass(frozen=True)
class Known:
    """An installation, a folder for files of its scenes, and a model of it."""

    installed: Installed
    folder: Path
    model: SceneModel

    def scenes(self, name: str, seed: int, count: int = NUM_SCENES, installed: Installed | None = None) -> Path:
        """Writes a measurement file of scenes of the installation."""
        path = self.folder / f"{name}.npz"
        drawn = draw_scenes(seed, count, installed or self.installed, WORLD)
        np.savez(path, **{key: drawn[key] for key in INPUTS})
        return path

    def opened(self, path: Path):
        return open_scenes([path], SCENARIO.array.num_elements)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    backbone = Backbone(
        SCENARIO, dataclasses.replace(TINY, refinement=RefinementConfig(additions=1, low_rank_additions=1))
    )
    return Known(
        draw_installation(3, ERRORS, WORLD),
        tmp_path_factory.mktemp("calibration"),
        SceneModel(backbone, SCENARIO.num_antennas),
    )


@pytest.fixture(scope="module")
def stored(known: Known) -> StoredCalibration:
    about = provenance(SCENARIO.array, (), NUM_SCENES, None)
    return calibrate(known.model, known.opened(known.scenes("first", 1)), about=about).stored


@pytest.fixture
def command(known: Known, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the stage with the small model in place of the one the options name; returns the exit status."""

    def opened(options: CalibrateOptions):
        return known.model, open_scenes(options.input, SCENARIO.array.num_elements)

    def run(*argv: object) -> int:
        monkeypatch.setattr("sys.argv", ["calibrate", *map(str, argv)])
        try:
            stage.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    monkeypatch.setattr(running, "opened", opened)
    return run


@pytest.mark.stage("calibrate")
@pytest.mark.promise("calibration")
def test_finds_the_element_response(known: Known, stored: StoredCalibration) -> None:
    truth = known.installed.element_response
    assert response_error(np.ones_like(truth), truth) > 0.3
    assert response_error(stored.element_response, truth) < 0.06
    np.testing.assert_array_equal(stored.dead, truth == 0)
    factor = np.vdot(stored.element_response, truth) / np.vdot(stored.element_response, stored.element_response)
    deviations = (
        np.abs(factor * stored.element_response - truth)[~stored.dead] / stored.element_response_std[~stored.dead]
    )
    assert 0.4 < np.sqrt(np.mean(deviations**2)) < 2.0


def test_leaves_a_perfect_installation_as_it_is(known: Known) -> None:
    """A calibration does no harm: the change it makes is smaller than the localizer can notice."""
    perfect = Installed(np.ones(SCENARIO.array.num_elements))
    found = calibrate(known.model, known.opened(known.scenes("perfect", 4, installed=perfect))).stored
    assert response_error(found.element_response, perfect.element_response) < 0.03
    assert not found.dead.any()


@pytest.mark.extended
def test_resumes_after_a_kill(known: Known, stored: StoredCalibration, command, monkeypatch, capsys) -> None:
    path, output = known.scenes("first", 1), known.folder / "killed" / "calibration.npz"
    write_state = running.write_state

    def killed(*arguments, **more) -> None:
        write_state(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "write_state", killed)
        assert command("--input", path, "--output", output) == 130
        assert not output.exists()
    assert command("--input", path, "--output", output, "--settings.dead.false-alarm-rate", "0.01") == 2
    assert "expected the unfinished run of these inputs and options" in capsys.readouterr().err
    assert command("--input", path, "--output", output) == 0
    shown = capsys.readouterr().out
    assert "resuming from" in shown
    assert "scenes needed" in shown
    assert sorted(p.name for p in output.parent.iterdir()) == ["calibration.npz", "calibration.png", "logs"]
    light = read_calibration(output)
    assert response_error(light.element_response, stored.element_response) < 0.03
    with np.load(output) as file:
        assert {
            name: (file[name].dtype, file[name].shape) for name in ("element_response", "element_response_std", "dead")
        } == {
            "element_response": (np.complex64, (30,)),
            "element_response_std": (np.float32, (30,)),
            "dead": (np.bool_, (30,)),
        }
    assert light.about["scenes"] == NUM_SCENES
    assert light.about["surface"]["num_horizontal"] == 6


@pytest.mark.extended
def test_updates_in_constant_memory(known: Known, stored: StoredCalibration) -> None:
    """New scenes are added to the weighted sums of the old ones, so that a drift is followed."""
    path = known.folder / "stored.npz"
    write_calibration(path, stored)
    old = read_stored(path, SCENARIO.array)
    turned = known.installed.element_response * np.exp(0.3j * np.random.default_rng(0).standard_normal(30))
    files = known.opened(known.scenes("drifted", 6, installed=Installed(turned)))
    kept = update(known.model, files, old, 1.0).stored
    followed = update(known.model, files, old, 0.8).stored
    assert kept.sums.scenes == pytest.approx(2 * NUM_SCENES)
    assert followed.sums.scenes == pytest.approx(NUM_SCENES * (1 + 0.8**NUM_SCENES))
    assert response_error(followed.element_response, turned) < 0.08
    assert response_error(followed.element_response, turned) < response_error(kept.element_response, turned)
    again = known.folder / "again.npz"
    write_calibration(again, kept)
    assert abs(again.stat().st_size - path.stat().st_size) < 4096


@pytest.mark.extended
def test_more_of_the_same_scenes_make_it_better(known: Known, stored: StoredCalibration) -> None:
    more = update(known.model, known.opened(known.scenes("more", 7, 3 * NUM_SCENES)), stored, 1.0).stored
    truth = known.installed.element_response
    assert response_error(more.element_response, truth) < response_error(stored.element_response, truth)
    assert np.median(more.element_response_std) < 0.7 * np.median(stored.element_response_std)


def test_exit_codes_of_the_check(known: Known, stored: StoredCalibration, command, capsys) -> None:
    path = known.folder / "checked.npz"
    write_calibration(path, stored)
    assert command("--input", known.scenes("same", 8), "--check", path) == 0
    assert "holds: 24 scenes, p = " in capsys.readouterr().out
    turned = known.installed.element_response * np.exp(0.5j * np.random.default_rng(0).standard_normal(30))
    other = known.scenes("other", 8, installed=Installed(turned))
    assert command("--input", other, "--check", path) == 1
    assert "drifted: 24 scenes, p = " in capsys.readouterr().out
    for arguments, message in (
        (("--input", other, "--check", known.folder / "none.npz"), "expected a calibration file, found none"),
        (("--input", known.folder / "none.npz", "--check", path), "expected a measurement file, found none"),
        (("--input", known.scenes("few", 8, 3), "--check", path), "--check: expected at least 8 scenes, got 3"),
        (("--input", other), "expected one of --output and --check, got none"),
        (("--input", other, "--output", path, "--forget", "0.9"), "--forget: needs --update"),
    ):
        assert command(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_refuses_another_surface(known: Known, stored: StoredCalibration) -> None:
    path = known.folder / "refused.npz"
    write_calibration(path, dataclasses.replace(stored, about=provenance(SCENARIO.array, (), 1, None)))
    read_stored(path, SCENARIO.array)
    with pytest.raises(ValueError, match="expected one of a surface of 144 elements, got one of 30"):
        read_stored(path, RISArray())
    with pytest.raises(ValueError, match=r"num_horizontal = 5, got one of num_horizontal = 6"):
        read_stored(path, RISArray(5, 6))
    with pytest.raises(ValueError, match="expected N = 144 as the installation, got 30"):
        open_scenes([known.scenes("small", 8, 3)], 144)


def test_anchors_settle_a_ramp(known: Known) -> None:
    """Anchors raise the information on a phase ramp, which other scenes barely determine."""
    files, truth = known.opened(known.scenes("anchored", 9, 8)), draw_scenes(9, 8, known.installed, WORLD)
    response = known.installed.element_response.astype(np.complex64)
    entries = []
    for scene in range(8):
        angles = truth["azimuth"][scene, 0], truth["elevation"][scene, 0]
        unit = np.array(
            [np.cos(angles[1]) * np.cos(angles[0]), np.cos(angles[1]) * np.sin(angles[0]), np.sin(angles[1])]
        )
        entries.append({"scene": scene, "position_m": [(truth["range_m"][scene, 0] * unit).tolist()]})
    path = known.folder / "anchors.json"
    path.write_text(json.dumps(entries))
    anchors = read_anchors(path, 8)
    y = SCENARIO.array.element_positions_m()[:, 0]
    ramp = 1j * y * response
    direction = np.concatenate([ramp.real, ramp.imag])
    seen = []
    for known_positions in ({}, anchors):
        start = FitState(response.astype(complex), on_all=True)
        fit = first_pass(known.model, files, known_positions, start)
        seen.append(direction @ fit.everything().information @ direction)
    assert seen[1] > 3 * seen[0]
    for content, message in (
        ("[{}]", r"\[0\].scene: expected a value, got none"),
        ("[", "expected JSON, got: "),
        ('[{"scene": 8, "position_m": [[1, 0, 0]]}]', "scene: expected 0 to 7, got 8"),
        ('[{"scene": 1, "position_m": [[-1, 0, 0]]}]', "position_m.*: expected a positive number, got -1"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_anchors(path, 8)


def first_pass(model: SceneModel, files, anchors: dict[int, Anchors], start: FitState):
    return Fit(model, files, anchors, FitConfig(), start).run_pass(start.response, 1, locate=True)


@pytest.mark.extended
def test_corrects_a_static_channel(known: Known, stored: StoredCalibration) -> None:
    installed = draw_installation(5, dataclasses.replace(ERRORS, channel_error_db=-15.0), WORLD)
    files = known.opened(known.scenes("channel", 10, 2 * NUM_SCENES, installed))
    found = calibrate(known.model, files, channel=True).stored
    assert found.channel is not None and found.channel_correction is not None
    assert installed.channel is not None and installed.told_channel is not None

    def error(channel: np.ndarray, response: np.ndarray) -> float:
        """Error of H diag(g), the only product that scenes depend on."""
        return response_error((channel * response).ravel(), (installed.channel * installed.element_response).ravel())

    before = error(installed.told_channel, installed.element_response)
    after = error(found.channel + found.channel_correction, found.element_response)
    assert after < 0.5 * before
    assert not check(known.model, files, found).drifted
    with pytest.raises(ValueError, match="--channel: expected the same channel in all scenes"):
        calibrate(known.model, known.opened(known.scenes("first", 1)), channel=True)
