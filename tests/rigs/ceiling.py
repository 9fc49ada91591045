"""What the likelihood itself holds: the localizer started at the true sources instead of at what it found.

    python -m tests.rigs.ceiling --config l64_m64_world_16_16_1000 --data-dir runs/data --scenes 300

Everything after the start is the localizer's own: refinement, reflections, decision and score. What F1 lacks there no
search can find; the rest of the gap to the localizer is its search's.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tyro

from models.artifacts import load_weights, moved_to
from models.covariance_estimator.likelihood import Atoms
from models.covariance_estimator.slots import with_spare_slots
from models.localizer import Localizer
from models.physics.covariance import LowRankCovariance
from models.physics.steering import steering_norm2
from models.spectrum.detection import Peaks
from models.weights import PRETRAINED
from pipeline.metrics.estimators import INPUTS
from pipeline.metrics.evaluation import compute_metrics, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.scenes.reading import load_scenes
from tfds_shards.scene_sets import scene_set


@dataclasses.dataclass(frozen=True)
class CeilingOptions:
    """Scores the localizer started at the truth."""

    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    data_dir: Path = Path("runs/data")
    """Where it lies."""
    scenes: int = 300
    """How many test scenes, the first ones."""
    batch_size: int = 20
    backbone: Path = PRETRAINED


class StartedAtTruth(Localizer):
    """A localizer that is given the truth of B scenes beside the measurement."""

    start: Atoms

    def from_truth(self, scenes: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As `localize`, of a batch with azimuth, elevation, range_m, power [B, K] and num_sources [B]."""
        used = tf.sequence_mask(scenes["num_sources"], scenes["azimuth"].shape[-1])
        inverse_range = 1.0 / tf.where(used, scenes["range_m"], 1.0)
        points = (scenes["azimuth"], scenes["elevation"], inverse_range)
        received = tf.where(used, scenes["power"] * steering_norm2(*points, self.scenario.array), 0.0)
        noise_power = self.observe(*(scenes[name] for name in INPUTS)).noise_power
        share = tf.where(used, scenes["power"], 1.0) / tf.reduce_sum(received, axis=-1, keepdims=True)
        log_power = tf.math.log(share * (1.0 - noise_power[:, None]))
        parameters = tf.stack([*points, log_power], axis=-1)
        spare = self.scenario.max_sources + self.backbone.config.refinement.spare_atoms - used.shape[-1]
        self.start = with_spare_slots(Atoms(parameters, used, noise_power), spare)
        return self.localize(*(scenes[name] for name in INPUTS))

    def _peak_atoms(
        self, peaks: Peaks, effective: LowRankCovariance, predicted: LowRankCovariance, noise_power: tf.Tensor
    ) -> Atoms:
        del peaks, effective, predicted
        return self.start._replace(noise_power=noise_power)


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
