"""Run time per scene of the localizer, its parts, a training step, the simulation and sequential maximum likelihood.

Everything runs in one process on newly simulated scenes. Absolute times vary between machines and runs; the ratios are
more reliable. The localizer processes both halves of a batch in parallel; its parts are timed on the whole batch.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.artifacts import load_weights, moved_to, untrained, with_effort
from models.baselines.sequential_ml import sequential_ml_localizer
from models.config import LocalizerConfig, LossConfig
from models.effort import EFFORTS
from models.localizer import Localizer
from models.spectrum.detection import find_peaks
from models.spectrum.refiner import SpectrumRefiner
from pipeline.bench.options import BenchOptions
from pipeline.fitting.backbone_training import BackboneTraining
from pipeline.metrics.estimators import INPUTS, localizer_estimator
from tfds_shards.inputs import scene_batch
from tfds_shards.scene_sets import scene_set
from tfds_shards.simulator import simulate_scene


def bench_scenes(options: BenchOptions) -> dict[str, tf.Tensor]:
    """Simulates one batch of validation scenes with their true sources."""
    config = scene_set(options.config).config
    scenes = [simulate_scene(config, "validation", number) for number in range(options.scenes)]
    return {name: tf.constant(value) for name, value in scene_batch(scenes, config.phase_bits).items()}


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """Shortest of `repeats` run times after a warm-up, in seconds."""

    def once() -> float:
        started = time.perf_counter()
        for tensor in tf.nest.flatten(action()):
            np.asarray(tensor)
        return time.perf_counter() - started

    once()
    return min(once() for _ in range(repeats))


def bench(options: BenchOptions) -> dict[str, float]:
    """Measures all run times; returns milliseconds per scene by name."""
    batch = bench_scenes(options)
    inputs = {name: batch[name] for name in INPUTS}
    smaller = {size: {name: value[:size] for name, value in inputs.items()} for size in (1, 8) if size < options.scenes}
    scenario = scene_set(options.config).config.scenario
    weights = moved_to(load_weights(options.weights), scenario)
    settings = LocalizerConfig(multipath=options.multipath)
    localizer = Localizer(weights, settings)
    backbone = localizer.backbone
    at_efforts = {effort: localizer_estimator(Localizer(*with_effort(weights, settings, effort))) for effort in EFFORTS}
    classical = localizer_estimator(Localizer(untrained(weights), settings))
    localize = at_efforts["default"]
    refined = localizer_estimator(Localizer(weights, settings, SpectrumRefiner()))  # weights do not change its time
    predict = tf.function(lambda scenes: backbone.predict_covariance(localizer.observe(**scenes)), autograph=False)
    stages = tf.function(lambda scenes: backbone.grid_stages(localizer.observe(**scenes))[-1], autograph=False)
    covariance = predict(inputs).covariance

    def peaks() -> tf.Tensor:
        effective = localizer.effective(covariance, inputs["snr_db"], tf.shape(inputs["snapshots"])[1])
        return find_peaks(effective, localizer.mvdr, localizer.config.detection)

    training = BackboneTraining(backbone, LossConfig())
    training.compile(optimizer=keras.optimizers.Adam(0.0), jit_compile=False)
    train_step = tf.function(training.train_step, autograph=False)
    maximum_likelihood = sequential_ml_localizer(scenario)
    actions: dict[str, tuple[Callable[[], Any], int]] = {
        "sequential maximum likelihood": (lambda: maximum_likelihood(inputs), options.scenes),
        **{
            f"localizer, {effort}, batch {options.scenes}": (functools.partial(run, inputs), options.scenes)
            for effort, run in at_efforts.items()
        },
        f"untrained localizer, batch {options.scenes}": (lambda: classical(inputs), options.scenes),
        f"localizer with a refiner, batch {options.scenes}": (lambda: refined(inputs), options.scenes),
        **{f"localizer, batch {size}": (functools.partial(localize, few), size) for size, few in smaller.items()},
        "  grid stages": (lambda: stages(inputs), options.scenes),
        "  R_pred": (lambda: predict(inputs), options.scenes),
        "  MVDR spectrum and its peaks": (tf.function(peaks, autograph=False), options.scenes),
        "training step": (lambda: train_step(batch), options.scenes),
        "simulation of a scene": (lambda: bench_scenes(options), options.scenes),
    }
    return {name: 1e3 * seconds(run, options.repeats) / count for name, (run, count) in actions.items()}


def table(found: Mapping[str, float], options: BenchOptions) -> list[str]:
    """Lines with milliseconds per scene, scenes per second, and the speed relative to the first entry."""
    reference = next(iter(found.values()))
    lines = [f"{options.scenes} scenes of {options.config}, fastest of {options.repeats}"]
    lines.append(f"{'':38} ms per scene   scenes/s   times faster")
    for name, value in found.items():
        lines.append(f"{name:40} {value:10.2f} {1e3 / value:10.1f} {reference / value:14.1f}")
    return lines
