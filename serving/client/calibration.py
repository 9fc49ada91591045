"""A calibration file of `python -m pipeline.calibrate`, applied to measurements: NumPy alone.

What an installation does otherwise than told, y_l = (H + E) diag(c_l) diag(g) x_l, is told in the model's own inputs:
codes c_l g and channel H + E.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.measurement import Measurement

CHANNEL_TOLERANCE = 1e-3
"""How far a channel may be from the calibrated one, a common factor aside, relative to its norm."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What an installation does otherwise than told.

    element_response: g, [N] complex64.
    channel: the channel as told, which the correction belongs to, [M, N] complex64; None without a correction.
    channel_correction: E, what is added to `channel`, [M, N] complex64; None without.
    about: what it was made from.
    """

    element_response: np.ndarray
    channel: np.ndarray | None
    channel_correction: np.ndarray | None
    about: dict[str, Any]

    @property
    def num_elements(self) -> int:
        """N."""
        return self.element_response.size

    def check(self, num_elements: int) -> None:
        """Whether it was made for a surface of so many elements.

        Raises:
          ValueError: it was made for another.
        """
        if num_elements != self.num_elements:
            raise ValueError(
                f"--calibration: expected one of a surface of {num_elements} elements, got one of {self.num_elements}"
            )

    def apply(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A measurement's inputs as the calibrated model takes them.

        Args:
          inputs: ris_codes [B, L, N] or [L, N] and channel [B, M, N], complex64, by name; others stay as they are.

        Raises:
          ValueError: another surface, or a channel that the correction doesn't belong to.
        """
        codes = np.asarray(inputs["ris_codes"])
        self.check(codes.shape[-1])
        changed = {**inputs, "ris_codes": (codes * self.element_response).astype(np.complex64)}
        if self.channel_correction is not None:
            changed["channel"] = self.corrected(np.asarray(inputs["channel"]))
        return changed

    def of(self, measurement: Measurement) -> Measurement:
        """`apply` for a measurement.

        Raises:
          ValueError: see `apply`.
        """
        return Measurement(**self.apply(measurement.inputs(0, len(measurement))))

    def corrected(self, channel: np.ndarray) -> np.ndarray:
        """H + E in the units of H, [..., M, N] complex64, of a calibration with a channel's correction.

        Raises:
          ValueError: a channel that the correction doesn't belong to.
        """
        assert self.channel is not None and self.channel_correction is not None
        if channel.shape[-2:] != self.channel.shape:
            raise ValueError(
                f"--calibration: expected channels of shape {list(self.channel.shape)}, got {list(channel.shape[-2:])}"
            )
        factor = np.einsum("...mn,mn->...", channel, self.channel.conj()) / np.sum(np.abs(self.channel) ** 2)
        rest = channel - factor[..., None, None] * self.channel
        distance = np.linalg.norm(rest, axis=(-2, -1)) / np.linalg.norm(channel, axis=(-2, -1))
        if np.max(distance) > CHANNEL_TOLERANCE:
            raise ValueError(
                "--calibration: expected the channel that its correction was made for, "
                f"got one that differs by {np.max(distance):.2g} of its norm"
            )
        return (channel + factor[..., None, None] * self.channel_correction).astype(np.complex64)


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration file.

    Raises:
      ValueError: there is none, or it is no calibration; one line.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            response = file["element_response"].astype(np.complex64)
            parts = {name: file.get(name) for name in ("channel", "channel_correction")}
            about = json.loads(str(file["about"]))
    except FileNotFoundError:
        raise ValueError(f"{path}: expected a calibration file, found none") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected a file of python -m pipeline.calibrate, got: {error}") from None
    if response.ndim != 1 or not np.isfinite(response).all():
        raise ValueError(f"{path}: element_response: expected finite numbers of shape [N], got {list(response.shape)}")
    return Calibration(response, parts["channel"], parts["channel_correction"], about)
