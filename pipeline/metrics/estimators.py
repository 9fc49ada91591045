"""Estimators: functions from a batch of scenes to source estimates, one for each kind of model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.artifacts import untrained, with_effort
from models.config import LocalizerConfig
from models.effort import Effort
from models.localizer import Localizer
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from models.physics.steering import source_positions_m
from serving.client import LocalizerClient
from serving.client.calibration import Calibration

Arrays = dict[str, np.ndarray]
Estimator = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Maps a batch (snapshots, ris_codes, channel, snr_db and the true sources) to num_sources, azimuth_deg, elevation_deg,
range_m, position_m and optionally score and position_cov_m2. Arrays or tensors."""

INPUTS = ("snapshots", "ris_codes", "channel", "snr_db")
SIGNATURE = "serving_default"


def latest_version(directory: Path) -> Path:
    """Folder of a SavedModel: `directory` itself, or its subfolder with the highest version number."""
    if tf.saved_model.contains_saved_model(str(directory)):
        return directory
    numbered = [child for child in directory.glob("*") if child.name.isdecimal()]
    versions = [child for child in numbered if tf.saved_model.contains_saved_model(str(child))]
    if not versions:
        raise ValueError(f"saved-model: expected a SavedModel or numbered versions of one in {directory}, found none")
    return max(versions, key=lambda child: int(child.name))


def saved_model_estimator(directory: Path, name: str = SIGNATURE) -> Estimator:
    """Loads signature `name` of a SavedModel, or of the latest of its versions.

    The outputs of `serving_default` are those of an `Estimator`; those of other signatures differ.
    """
    path = latest_version(directory)
    model = tf.saved_model.load(str(path))
    if name not in model.signatures:
        raise ValueError(f"saved-model: expected the signature {name} in {path}, got {sorted(model.signatures)}")
    signature = model.signatures[name]
    inputs = signature.structured_input_signature[1]
    if set(inputs) != set(INPUTS):
        raise ValueError(f"saved-model: expected the inputs {sorted(INPUTS)} in {path}, got {sorted(inputs)}")

    def estimate(scenes: Mapping[str, Any]) -> Mapping[str, Any]:
        # The reference to `model` keeps its variables alive; a signature alone does not.
        return model.signatures[name](**{key: tf.cast(scenes[key], inputs[key].dtype) for key in INPUTS})

    return estimate


def server_estimator(target: str, model_name: str) -> Estimator:
    """A model on the server `target`, HOST:PORT, with TensorFlow Serving's gRPC interface.

    The estimator raises serving.client.ServerError if the server cannot be reached or rejects the request.
    """
    client = LocalizerClient(target, model_name=model_name)
    return lambda scenes: client.predict({key: np.asarray(scenes[key]) for key in INPUTS}).outputs


def calibrated_estimator(estimator: Estimator, calibration: Calibration) -> Estimator:
    """An estimator with calibrated inputs; it raises ValueError for scenes with another surface or channel."""
    return lambda scenes: estimator(calibration.apply(scenes))


def localizer_estimator(localizer: Localizer) -> Estimator:
    """A localizer in this process, as a graph. Each call uses the current weights of the localizer."""
    specs = localizer.input_specs()
    return lambda scenes: localizer.graph(**{key: tf.cast(scenes[key], specs[key].dtype) for key in INPUTS})


def weights_estimators(config: LocalizerConfig, effort: Effort, **weights: LocalizerWeights) -> dict[str, Estimator]:
    """Localizers by name that share one graph, and so one shape of the weights, one installation and one effort."""
    localizer = Localizer(*with_effort(untrained(next(iter(weights.values()))), config, effort))
    localize = localizer_estimator(localizer)

    def having(values: list[np.ndarray]) -> Estimator:
        def estimate(scenes: Mapping[str, Any]) -> Mapping[str, Any]:
            localizer.weights.set_weights(values)
            return localize(scenes)

        return estimate

    return {name: having(one.get_weights()) for name, one in weights.items()}


def chance_estimator(scenario: Scenario, seed: int = 0) -> Callable[[Mapping[str, Any]], Arrays]:
    """An estimator that guesses: max_sources positions per scene, uniform in azimuth, elevation and range.

    The guesses depend on the seed and the order of the scenes, not on the batch size.
    """
    generator = np.random.default_rng(seed)
    field = scenario.field_of_view
    limits = np.array([field.azimuth_deg, field.elevation_deg, field.range_m])

    def estimate(scenes: Mapping[str, Any]) -> Arrays:
        num_scenes = len(scenes["snr_db"])
        guesses = generator.uniform(limits[:, 0], limits[:, 1], size=(num_scenes, scenario.max_sources, 3))
        azimuth_deg, elevation_deg, range_m = np.moveaxis(guesses, -1, 0)
        places = np.radians(azimuth_deg), np.radians(elevation_deg), range_m
        return {
            "num_sources": np.full(num_scenes, scenario.max_sources, np.int32),
            "azimuth_deg": azimuth_deg,
            "elevation_deg": elevation_deg,
            "range_m": range_m,
            "position_m": source_positions_m(*map(tf.constant, places)).numpy(),
        }

    return estimate


def silence_estimator(scenes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """An estimator that reports no source in any scene."""
    batch = len(scenes["snr_db"])
    slots = np.full((batch, scenes["azimuth"].shape[-1]), np.nan, np.float32)
    answer = dict.fromkeys(("azimuth_deg", "elevation_deg", "range_m", "score"), slots)
    return {"num_sources": np.zeros(batch, np.int32), "position_m": np.stack([slots] * 3, axis=-1), **answer}
