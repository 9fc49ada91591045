"""Applies a calibration inside an exported model, so that every client benefits."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from serving.client.calibration import CHANNEL_TOLERANCE, Calibration

InputCorrection = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Maps the ris_codes [B, L, N] and channel [B, M, N] that a client sends, complex64, to the inputs of the model."""


def uncalibrated(ris_codes: tf.Tensor, channel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the inputs unchanged; used without a calibration."""
    return ris_codes, channel


def calibrated(calibration: Calibration) -> InputCorrection:
    """`Calibration.apply` in TensorFlow. The returned function raises tf.errors.InvalidArgumentError for a channel
    other than the one that the calibration corrects."""
    response = calibration.element_response

    def correct(ris_codes: tf.Tensor, channel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return ris_codes * tf.constant(response), _corrected(channel, calibration)

    return correct


def _corrected(channel: tf.Tensor, calibration: Calibration) -> tf.Tensor:
    if calibration.channel is None or calibration.channel_correction is None:
        return channel
    reference = tf.constant(calibration.channel, tf.complex64)
    energy = float(np.sum(np.abs(calibration.channel) ** 2))
    factor = tf.reduce_sum(channel * tf.math.conj(reference), axis=(1, 2), keepdims=True) / energy
    distance = tf.norm(tf.abs(channel - factor * reference), axis=(1, 2)) / tf.norm(tf.abs(channel), axis=(1, 2))
    check = tf.debugging.assert_less(
        distance, CHANNEL_TOLERANCE, "channel: expected the one that the model's calibration was made for"
    )
    with tf.control_dependencies([check] if check is not None else []):
        return channel + factor * tf.constant(calibration.channel_correction, tf.complex64)
