"""`python -m tests.rigs.calibration.bound`: the error of g against its Cramer-Rao bound, by number of scenes and SNR.

The bound is the inverse of the efficient information at the truth, with unknown sources and noise powers and without a
prior. Error and bound exclude the directions that scenes cannot determine (the gauge): a common factor, phase ramps
along y and z, and a phase curvature.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro
from matplotlib.figure import Figure

from models.artifacts import load_weights, moved_to
from models.covariance_estimator.atoms import Atoms
from models.physics.geometry import RISArray, Scenario
from models.physics.observation import observe
from models.weights import PRETRAINED
from pipeline.calibrate.anchors import NO_ANCHORS
from pipeline.calibrate.calibrating import calibrate
from pipeline.calibrate.scenes import SceneModel, open_scenes
from pipeline.calibrate.solution import as_real
from tests.rigs.calibration.installations import INPUTS, Errors, Installed, draw_installation, draw_scenes
from tfds_shards.simulator import SceneConfig


@dataclasses.dataclass(frozen=True)
class BoundOptions:
    """Calibrates a surface of 6 x 6 elements on scenes of one SNR."""

    errors: Errors = Errors(phase_rms_rad=0.5)
    scenes: tuple[int, ...] = (8, 16, 32, 64, 128)
    snr_db: tuple[float, ...] = (0.0, 10.0, 20.0)
    seed: int = 1
    figure: Path = Path("runs/calibration-bound.png")
    backbone: Path = PRETRAINED


def across(response: np.ndarray, array: RISArray) -> np.ndarray:
    """Returns a basis of the directions without common factor, ramps and curvature: [2N, 2N - 5]."""
    y, z = array.element_positions_m().T
    phases = [np.ones_like(y), y, z, y**2 + z**2]
    gauge = np.stack([as_real(response), *(as_real(1j * phase * response) for phase in phases)], axis=1)
    return np.linalg.svd(gauge, full_matrices=True)[0][:, gauge.shape[1] :]


def bound_of(model: SceneModel, scenes: dict[str, np.ndarray], installed: Installed) -> np.ndarray:
    """Returns the lower bound of the covariance of (Re g, Im g), unbiased, across a common factor: [2N, 2N]."""
    response = installed.element_response.astype(np.complex64)
    told = {name: scenes[name] for name in INPUTS}
    observation = observe(*(tf.constant(told[name]) for name in INPUTS))
    used = np.arange(scenes["range_m"].shape[1]) < scenes["num_sources"][:, None]
    scale = np.mean(np.abs(scenes["snapshots"]) ** 2, axis=(1, 2)) / np.mean(
        np.abs(scenes["channel"]) ** 2, axis=(1, 2)
    )
    power = np.where(used, scenes["power"], 1.0) / scale[:, None]
    inverse_range = 1.0 / np.where(used, scenes["range_m"], 1.0)
    places = np.stack([scenes["azimuth"], scenes["elevation"], inverse_range, np.log(power)], axis=-1)
    atoms = Atoms(tf.constant(places.astype(np.float32)), tf.constant(used), observation.noise_power)
    sums, _ = model.summed(atoms, told, response, [NO_ANCHORS] * len(used))
    return np.linalg.pinv(sums.information, rcond=1e-5, hermitian=True)


def _row(count: int, snr_db: float, options: BoundOptions) -> tuple[float, float, float]:
    """Returns error, bound and standard error: rms over the elements, relative to the rms of g."""
    scenario = Scenario(array=RISArray(6, 6), num_antennas=8, max_sources=2)
    world = SceneConfig("bound", scenario, num_snapshots=32, snr_db=(snr_db, snr_db), codebook="random")
    installed = draw_installation(options.seed, options.errors, world)
    model = SceneModel(moved_to(load_weights(options.backbone), scenario).backbone, scenario.num_antennas)
    scenes = draw_scenes(options.seed, count, installed, world)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "scenes.npz")
        np.savez(path, allow_pickle=False, **{name: scenes[name] for name in INPUTS})
        stored = calibrate(model, open_scenes([path], scenario.array.num_elements)).stored
    truth = installed.element_response
    factor = np.vdot(stored.element_response, truth) / np.vdot(stored.element_response, stored.element_response)
    basis = across(truth, scenario.array)
    size = np.linalg.norm(truth)
    error = np.linalg.norm(basis.T @ as_real(factor * stored.element_response - truth)) / size
    bound = np.sqrt(np.trace(basis.T @ bound_of(model, scenes, installed) @ basis)) / size
    told = np.sqrt(np.trace(basis.T @ stored.covariance @ basis)) * np.abs(factor) / size
    return float(error), float(bound), float(told)


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(BoundOptions, prog="python -m tests.rigs.calibration.bound")
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    print("| SNR, dB | scenes | error | bound | error / bound | standard error |\n|---|---|---|---|---|---|")
    for snr_db in options.snr_db:
        rows = []
        for count in options.scenes:
            error, bound, told = _row(count, snr_db, options)
            rows.append((error, bound))
            print(
                f"| {snr_db:g} | {count} | {error:.4f} | {bound:.4f} | {error / bound:.2f} | {told:.4f} |", flush=True
            )
        errors, bounds = np.array(rows).T
        (line,) = axis.loglog(options.scenes, errors, "o-", label=f"{snr_db:g} dB")
        axis.loglog(options.scenes, bounds, "--", color=line.get_color())
    axis.set(
        xlabel="scenes", ylabel="error of g, rms relative", title="Calibration (o) against its Cramer-Rao bound (--)"
    )
    axis.legend()
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.figure, dpi=120)


if __name__ == "__main__":
    main()
