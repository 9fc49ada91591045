"""Applies a calibration file of `python -m pipeline.calibrate` to measurements. Needs NumPy only.

A calibrated installation follows y_l = (H + E) diag(c_l) diag(g) x_l. The model receives the element gains g and the
channel correction E through its own inputs: codes c_l g and channel H + E.
"""

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.measurement import Measurement

CHANNEL_TOLERANCE = 1e-3
"""Largest distance between a channel and the calibrated one, up to a common factor, relative to its norm."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Estimated deviations of an installation from its nominal values.

    element_response: element gains g, [N] complex64.
    channel: the nominal channel that the correction belongs to, [M, N] complex64; None without a correction.
    channel_correction: E, added to `channel`, [M, N] complex64; None without a correction.
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
        """Checks the number of elements.

        Raises:
          ValueError: the calibration was made for another number.
        """
        if num_elements != self.num_elements:
            raise ValueError(
                f"--calibration: expected one of a surface of {num_elements} elements, got one of {self.num_elements}"
            )

    def check_surface(self, surface: Mapping[str, Any]) -> None:
        """Checks that the calibration was made for a surface.

        Args:
          surface: the fields of its `RISArray`.

        Raises:
          ValueError: the calibration was made for another surface; names what differs.
        """
        expected = json.loads(json.dumps(surface))
        digest = hashlib.sha256(json.dumps(expected, sort_keys=True).encode()).hexdigest()
        if self.about.get("surface_fingerprint") == digest:
            return
        made_for = self.about.get("surface", {})
        differing = [name for name in expected if made_for.get(name) != expected[name]] or ["surface"]
        name = differing[0]
        raise ValueError(
            f"--calibration: expected one of the installation's surface, {name} = {expected.get(name)!r}, "
            f"got one of {name} = {made_for.get(name)!r}"
        )

    def apply(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A measurement's inputs with codes and channel corrected.

        Args:
          inputs: ris_codes [B, L, N] or [L, N] and channel [B, M, N], complex64, by name. Others stay as they are.

        Raises:
          ValueError: another surface, or a channel that the correction does not belong to.
        """
        codes = np.asarray(inputs["ris_codes"])
        self.check(codes.shape[-1])
        changed = {**inputs, "ris_codes": (codes * self.element_response).astype(np.complex64)}
        if self.channel_correction is not None:
            changed["channel"] = self.corrected(np.asarray(inputs["channel"]))
        return changed

    def of(self, measurement: Measurement) -> Measurement:
        """Applies the calibration to a measurement.

        Raises:
          ValueError: see `apply`.
        """
        return Measurement(**self.apply(measurement.inputs(0, len(measurement))))

    def corrected(self, channel: np.ndarray) -> np.ndarray:
        """Adds the channel correction to channels H of any scale: [..., M, N] complex64.

        Raises:
          ValueError: the correction was estimated for another channel.
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
      ValueError: the file is absent or not a calibration; one line.
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
