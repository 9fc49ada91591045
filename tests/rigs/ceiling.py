"""Measures the upper limit of the likelihood: the localizer starts at the true sources, not at those it found.

    python -m tests.rigs.ceiling --config l64_m64_world_16_16_1000 --data-dir runs/data --scenes 300

Everything after the start is unchanged: refinement, multipath, decision and score. No search can reach a higher F1. The
difference to the F1 of the localizer is what its search misses.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tyro

from models.artifacts import load_weights, moved_to
from models.covariance_estimator.paths import Paths, direct_paths
from models.localizer import Analysis, Localizer, ScoredPeaks
from models.physics.observation import observe
from models.physics.steering import steering_norm2
from models.weights import PRETRAINED
from pipeline.metrics.estimators import INPUTS
from pipeline.metrics.evaluation import compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.scenes.reading import load_scenes
from tfds_shards.scene_sets import scene_set


@dataclasses.dataclass(frozen=True)
class CeilingOptions:
    """Scores the localizer with the truth as its start."""

    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    data_dir: Path = Path("runs/data")
    """Folder of the set."""
    scenes: int = 300
    """Number of test scenes, starting with the first."""
    batch_size: int = 20
    backbone: Path = PRETRAINED


class StartedAtTruth(Localizer):
    """A localizer that gets the truth of B scenes in addition to the measurement."""

    truth: tuple[tf.Tensor, tf.Tensor]
    start: Paths

    def from_truth(self, scenes: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Like `localize`, for a batch that also has azimuth, elevation, range_m, power [B, K] and num_sources [B]."""
        used = tf.sequence_mask(scenes["num_sources"], scenes["azimuth"].shape[-1])
        inverse_range = 1.0 / tf.where(used, scenes["range_m"], 1.0)
        points = (scenes["azimuth"], scenes["elevation"], inverse_range)
        received = tf.where(used, scenes["power"] * steering_norm2(*points, self.scenario.array), 0.0)
        noise_power = observe(*(scenes[name] for name in INPUTS)).noise_power
        share = tf.where(used, scenes["power"], 1.0) / tf.reduce_sum(received, axis=-1, keepdims=True)
        log_power = tf.math.log(share * (1.0 - noise_power[:, None]))
        self.truth = tf.stack([*points, log_power], axis=-1), used
        return self.localize(*(scenes[name] for name in INPUTS))

    def _checked(
        self, snapshots: tf.Tensor, ris_codes: tf.Tensor, channel: tf.Tensor, snr_db: tf.Tensor
    ) -> list[tf.Tensor]:
        return [*super()._checked(snapshots, ris_codes, channel, snr_db), *self.truth]

    def _scene_candidates(self, measurement: list[tf.Tensor]) -> ScoredPeaks:
        *measurement, parameters, used = measurement
        self.start = direct_paths(parameters, used, tf.zeros([]))
        return super()._scene_candidates(measurement)

    def _at_peaks(self, analysis: Analysis, paths: Paths) -> tuple[Paths, tf.Tensor]:
        del analysis
        return self.start._replace(noise_power=paths.noise_power), tf.constant(False)


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(CeilingOptions, prog="python -m tests.rigs.ceiling")
    scenario = scene_set(options.config).config.scenario
    localizer = StartedAtTruth(moved_to(load_weights(options.backbone), scenario))
    graph = tf.function(localizer.from_truth, autograph=False)
    wanted = (*INPUTS, "azimuth", "elevation", "range_m", "power", "num_sources")

    def estimate(scenes: Mapping[str, Any]) -> Mapping[str, Any]:
        return graph({name: tf.convert_to_tensor(scenes[name]) for name in wanted})

    batches = load_scenes(options.data_dir, options.config, "test", take=options.scenes, batch_size=options.batch_size)
    predictions = run_estimator(estimate, batches, options.scenes)
    found = compute_metrics(evaluate_predictions(predictions, metrics_config(scenario)))
    standard = found["standard"]
    print(
        {"config": options.config, "scenes": options.scenes}
        | {name: standard[name] for name in ("f1", "precision", "recall")}
    )


if __name__ == "__main__":
    main()
