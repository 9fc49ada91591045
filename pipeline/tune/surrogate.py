"""The surrogate of Stage 1 where trials are trainings: the quality of the covariance that the learned part computes.

    surrogate = mean log(1 + Stein(R_start, R_true)) + mean misalignment(R_start) + 1 - F1 of the start's atoms

R_start is the covariance after the grid stages and the start network, the only parts that training changes. The
off-grid refinement and all later steps are left out, because they take most of the localizer's time. The surrogate is
the same function for all trials: it does not depend on a trial's loss weights, and its scenes are fixed. Because of the
logarithm, a single missed source in a scene of high SNR does not outweigh all other scenes.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from models.covariance_estimator.atoms import Atoms
from models.localizer import Localizer, true_covariance
from models.losses import stein_loss, subspace_alignment_loss
from models.physics.geometry import FieldOfView
from pipeline.fitting.validation import BATCH
from pipeline.scenes.reading import load_scenes

Batches = Sequence[Mapping[str, tf.Tensor]]
"""Batches of scenes with the true sources."""
Heartbeat = Callable[[], None]
"""Called while the work goes on; tells the chief of a distributed study that the worker is active."""


def _near(atoms: Atoms, batch: Mapping[str, tf.Tensor], view: FieldOfView) -> tf.Tensor:
    """True where an atom lies inside the gate around a source, [B, K_max, A] bool."""
    gate = math.radians(view.gate_angle_deg)
    azimuth, elevation, inverse_range, _ = (part[:, None] for part in tf.unstack(atoms.parameters, axis=-1))
    used = tf.sequence_mask(batch["num_sources"], batch["azimuth"].shape[-1])
    return (
        (tf.abs(azimuth - batch["azimuth"][..., None]) <= gate)
        & (tf.abs(elevation - batch["elevation"][..., None]) <= gate)
        & (tf.abs(1.0 / inverse_range - batch["range_m"][..., None]) <= view.gate_range_m)
        & used[..., None]
        & atoms.active[:, None]
    )


def surrogate_terms(localizer: Localizer, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The terms of the surrogate for every scene; of the backbone only the grid stages and the start network are used.

    stein: log(1 + Stein loss), [B] float32. misalignment: subspace alignment loss, [B] float32. near: True where an
    atom lies inside the gate around a source, [B, K_max, A] bool. found, sources: numbers of atoms and of true sources,
    [B] float32.
    """
    backbone = localizer.backbone
    observation = localizer.observe(*(batch[name] for name in ("snapshots", "ris_codes", "channel", "snr_db")))
    atoms = backbone.first_atoms(backbone.grid_stages(observation)[-1], observation.noise_power)
    covariance = backbone.covariance(atoms)
    true = true_covariance(batch, localizer.scenario)
    amplitude = tf.norm(tf.abs(true.factor), axis=1, keepdims=True)
    directions = true.factor / tf.cast(tf.maximum(amplitude, 1e-12), true.factor.dtype)
    return {
        "stein": tf.math.log1p(stein_loss(covariance, true)),
        "misalignment": subspace_alignment_loss(covariance, directions),
        "near": _near(atoms, batch, localizer.scenario.field_of_view),
        "found": tf.reduce_sum(tf.cast(atoms.active, tf.float32), axis=-1),
        "sources": tf.cast(batch["num_sources"], tf.float32),
    }


def pairs_inside(near: np.ndarray) -> int:
    """Size of the largest one-to-one matching of sources and atoms: near [K, A] bool."""
    return int((maximum_bipartite_matching(csr_array(near)) >= 0).sum())


def stage_1_scenes(data_dir: Path, config: str, skip: int, take: int) -> Batches:
    """The scenes that score Stage 1: `take` validation scenes after the first `skip`, which Stage 2 uses."""
    scenes = load_scenes(data_dir, config, "validation", take=skip + take)
    return list(scenes.skip(skip).batch(BATCH))


class Surrogate:
    """Computes the surrogate of a localizer with its current weights, lower is better."""

    def __init__(self, localizer: Localizer, batches: Batches) -> None:
        self.batches = batches
        self.step = tf.function(lambda batch: surrogate_terms(localizer, batch), autograph=False)
        self.calls = 0
        self.ms_per_scene: float | None = None
        """CPU time of the last call; None after the first call, which includes tracing."""

    def __call__(self, heartbeat: Heartbeat) -> float:
        started, parts = time.process_time(), []
        for batch in self.batches:
            heartbeat()
            parts.append(self.step(batch))
        terms = {name: tf.concat([part[name] for part in parts], 0).numpy().astype(float) for name in parts[0]}
        inside = sum(pairs_inside(near > 0) for near in terms["near"])
        f1 = 2.0 * inside / (terms["found"].sum() + terms["sources"].sum())
        if self.calls > 0:
            self.ms_per_scene = 1e3 * (time.process_time() - started) / terms["found"].size
        self.calls += 1
        return float(terms["stein"].mean() + terms["misalignment"].mean() + 1.0 - f1)
