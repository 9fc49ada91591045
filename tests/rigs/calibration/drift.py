"""`python -m tests.rigs.calibration.drift`: rates of false alarms and of detected drifts of `calibrate --check`."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import tyro

from models.artifacts import load_weights, moved_to
from models.weights import PRETRAINED
from pipeline.calibrate.calibrating import calibrate, scene_scores
from pipeline.calibrate.drift import drift_test
from pipeline.calibrate.files import StoredCalibration
from pipeline.calibrate.options import DriftConfig
from pipeline.calibrate.scenes import SceneFiles, SceneModel, open_scenes
from tests.rigs.calibration.installations import INPUTS, Errors, Installed, draw_installation, draw_scenes
from tfds_shards.simulator import CONFIGS, SceneConfig


@dataclasses.dataclass(frozen=True)
class DriftRigOptions:
    """Calibrates on some scenes, then checks sets of other scenes, without and with drift."""

    errors: Errors = Errors(phase_rms_rad=0.3, dead_share=0.05)
    config: str = "l64_m64"
    scenes: int = 100
    """Number of scenes for the calibration."""
    sets: int = 200
    """Number of sets without drift."""
    drifted_sets: int = 50
    """Number of sets with a drift of the phases."""
    set_scenes: int = 20
    """Number of scenes in a set."""
    drift_rms_rad: float = 0.2
    test: DriftConfig = DriftConfig()
    seed: int = 1
    directory: Path = Path("runs/drift-rig")
    """Folder for the scenes."""
    backbone: Path = PRETRAINED


def _files(path: Path, seed: int, count: int, installed: Installed, config: SceneConfig, most: int) -> SceneFiles:
    scenes = draw_scenes(seed, count, installed, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **{name: scenes[name] for name in INPUTS})
    return open_scenes([path], config.scenario.array.num_elements, most)


def _p_values(model: SceneModel, files: SceneFiles, stored: StoredCalibration, options: DriftRigOptions) -> list[float]:
    """Returns the p-values of sets of successive scenes, one batch each."""
    parts = list(scene_scores(model, files, stored))
    return [
        drift_test(scores, sums.information, stored.covariance, stored.element_response, options.test).p_value
        for sums, scores in parts
    ]


def run(options: DriftRigOptions) -> dict:
    """Returns the rates of alarms."""
    config = CONFIGS[options.config]
    model = SceneModel(moved_to(load_weights(options.backbone), config.scenario).backbone, config.scenario.num_antennas)
    installed = draw_installation(options.seed, options.errors, config)
    files = _files(options.directory / "calibration.npz", 2 * options.seed, options.scenes, installed, config, 32)
    stored = calibrate(model, files).stored
    rng = np.random.default_rng((options.seed, 5))
    found: dict[str, list[float]] = {"still": [], "drifted": []}
    for name, sets in (("still", options.sets), ("drifted", options.drifted_sets)):
        for number in range(sets):
            turned = installed
            if name == "drifted":
                phase = options.drift_rms_rad * rng.standard_normal(installed.element_response.size)
                turned = dataclasses.replace(
                    installed, element_response=installed.element_response * np.exp(1j * phase)
                )
            seed = 1000 * options.seed + number + (500 if name == "drifted" else 0)
            path = options.directory / "set.npz"
            files = _files(path, seed, options.set_scenes, turned, config, 8 * options.set_scenes)
            files = dataclasses.replace(files, batch_size=options.set_scenes)
            found[name] += _p_values(model, files, stored, options)
    rate = options.test.false_alarm_rate
    return {
        "stated_rate": rate,
        "false_alarms": float(np.mean(np.array(found["still"]) <= rate)),
        "at_0.05": float(np.mean(np.array(found["still"]) <= 0.05)),
        "at_0.2": float(np.mean(np.array(found["still"]) <= 0.2)),
        "median_p": float(np.median(found["still"])),
        "detected": float(np.mean(np.array(found["drifted"]) <= rate)),
        "sets": [options.sets, options.drifted_sets],
    }


def main() -> None:
    """Command line entry point."""
    print(json.dumps(run(tyro.cli(DriftRigOptions, prog="python -m tests.rigs.calibration.drift"))))


if __name__ == "__main__":
    main()
