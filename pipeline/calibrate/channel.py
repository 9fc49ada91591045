"""Corrects a channel that is the same in all scenes and known with an error E.

Given d_l = diag(c_l g) A x_l, the model y_l = (H + E) d_l + n_l is linear in E. In the notation of
`pipeline.calibrate.statistics` and with D_l = diag(c_l g) A P^(1/2), the score is
    sum_l [(S^-1 y)(B_l^H S^-1 y)^H - S^-1 B_l] D_l^H,    [M, N],
and the Fisher information of a change delta is sum_l tr(S^-1 delta D_l (I - Gamma_l^-1) D_l^H delta^H) plus a
pseudo-covariance part. Two approximations reduce it to one N x N matrix for all antennas: S^-1 is replaced by its mean
over directions, (1 - K / M) / sigma^2, and the pseudo-covariance part is left out. A scoring step then costs as little
as a step of expectation maximisation, and is longer.
The prior is E_mn ~ CN(0, v); v maximises the evidence.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from models.covariance_estimator.atoms import Atoms, atom_specs
from models.physics.geometry import RISArray
from models.physics.observation import Observation, observe
from pipeline.calibrate.options import ChannelConfig
from pipeline.calibrate.scenes import INPUTS, SceneFiles, SceneModel, Sources, by_count
from pipeline.calibrate.statistics import scene_parts

_STATIC_TOLERANCE = 1e-5
_EVIDENCE_STEPS = 100
_LEAST_VARIANCE = 1e-8


def channel_statistics(
    observation: Observation, response: tf.Tensor, atoms: Atoms, array: RISArray
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Score and information of the channel, summed over B scenes with K sources each, all active. The codes are those
    sent, without g, which is `response`, [N] complex64.

    Returns the negative log-likelihood of the scenes, [B] float32; the score, [M, N] complex64; the information, [N, N]
    complex64.
    """
    parts = scene_parts(observation, response, atoms, array)
    size = parts.vectors.shape[-1]
    arriving = (observation.ris_codes * response)[..., None] * parts.vectors[:, None]  # D_l, [B, L, N, K]
    seen = tf.matmul(parts.residual, parts.symbols, adjoint_b=True) - parts.white
    score = tf.reduce_sum(tf.matmul(seen, arriving, adjoint_b=True), axis=(0, 1))
    share = 1.0 - size / observation.channel.shape[1]
    inner = (tf.eye(size, dtype=seen.dtype) - parts.inverse) * share / parts.noise
    information = tf.reduce_sum(tf.matmul(tf.matmul(arriving, inner), arriving, adjoint_b=True), axis=(0, 1))
    return parts.nll, score, information


def step_of(
    score: np.ndarray, information: np.ndarray, correction: np.ndarray, variance: float
) -> tuple[np.ndarray, float]:
    """Maximises the posterior by its quadratic approximation at the current `correction` E, and chooses the prior
    variance v by evidence. Returns the new E, like the score [M, N] complex128, and v; the information is [N, N]
    complex128."""
    eigenvalues, vectors = np.linalg.eigh(information)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    score, current = score @ vectors, correction @ vectors
    moved = current
    for _ in range(_EVIDENCE_STEPS):
        moved = current + (score - current / variance) / (eigenvalues + 1.0 / variance)
        determined = len(score) * np.sum(eigenvalues / (eigenvalues + 1.0 / variance))
        before, variance = variance, max(float(np.sum(np.abs(moved) ** 2) / determined), _LEAST_VARIANCE)
        if abs(variance - before) < 1e-3 * before:
            break
    return moved @ vectors.conj().T, variance


def static_channel(files: SceneFiles) -> np.ndarray:
    """The channel that all scenes share, [M, N] complex64, scaled to an rms of 1; ValueError if they have different
    ones."""
    first: np.ndarray | None = None
    for batch in files.batches():
        channels = batch.inputs["channel"]
        if first is None:
            first = channels[0] / np.sqrt(np.mean(np.abs(channels[0]) ** 2))
        factor = np.einsum("bmn,mn->b", channels, first.conj()) / first.size
        distance = np.linalg.norm(channels - factor[:, None, None] * first, axis=(1, 2))
        distance /= np.linalg.norm(channels, axis=(1, 2))
        if distance.max() > _STATIC_TOLERANCE:
            scene = batch.scenes.start + int(np.argmax(distance))
            raise ValueError(
                f"--channel: expected the same channel in all scenes, got one that differs by {distance.max():.2g} of "
                f"its norm in scene {scene}"
            )
    assert first is not None
    return first


class ChannelFit:
    """Estimates the channel error E at a fixed g. nominal: channel of all scenes in the files, [M, N] complex64,
    with an rms of 1. config: when to stop. progress: see `pipeline.calibrate.fitting.Fit`."""

    def __init__(
        self,
        model: SceneModel,
        files: SceneFiles,
        nominal: np.ndarray,
        config: ChannelConfig,
        progress: Callable[[str, int], Callable[[int], None]],
    ) -> None:
        self.model, self.files, self.nominal, self.config, self.progress = model, files, nominal, config, progress
        self.variance = 1e-2

    @functools.lru_cache(maxsize=16)  # noqa: B019 - as many as sources a scene may have
    def _statistics(self, count: int):
        model = self.model

        @tf.function(input_signature=[*model.input_specs(), *atom_specs(count)], autograph=False)
        def statistics(snapshots, ris_codes, channel, snr_db, response, *atoms):
            observation = observe(snapshots, ris_codes, channel, snr_db)
            return channel_statistics(observation, response, Atoms(*atoms), model.array)

        return statistics

    def _pass(self, sources: Sources, response: np.ndarray, correction: np.ndarray):
        """Negative log-likelihood, score and information of all scenes, in units of the nominal channel."""
        corrected = (self.nominal + correction).astype(np.complex64)
        scale = np.sqrt(np.mean(np.abs(corrected) ** 2))
        nll, score, information = 0.0, 0.0, 0.0
        done = self.progress("channel", len(self.files))
        for batch in dataclasses.replace(self.files, channel=corrected).batches():
            self.model.update(sources, batch.scenes, batch.inputs, response, locate=False)
            for chosen, atoms in by_count(sources.atoms(batch.scenes)):
                inputs = [batch.inputs[name][chosen] for name in INPUTS]
                part = self._statistics(atoms.active.shape[1])(*inputs, response, *atoms)
                nll += float(np.sum(part[0].numpy(), dtype=np.float64))
                score = score + part[1].numpy().astype(np.complex128)
                information = information + part[2].numpy().astype(np.complex128)
            done(batch.size)
        return nll, score / scale, information / scale**2

    def run(self, sources: Sources, response: np.ndarray, correction: np.ndarray) -> np.ndarray:
        """Takes steps from the initial E until the likelihood stops rising; returns E, [M, N] complex128. Changes
        the located sources of all scenes in place. response: g, [N] complex."""
        single, best, best_nll = response.astype(np.complex64), correction, np.inf
        for _ in range(self.config.passes):
            nll, score, information = self._pass(sources, single, correction)
            if nll > best_nll - self.config.tolerance * len(self.files):
                return correction if nll < best_nll else best
            best, best_nll = correction, nll
            correction, self.variance = step_of(score, information, correction, self.variance)
        return correction
