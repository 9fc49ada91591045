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


def surface_digest(surface: Mapping[str, Any]) -> str:
    """SHA-256 of the parameters of a surface, the fields of a `RISArray`; it identifies the surface."""
    return hashlib.sha256(json.dumps(surface, sort_keys=True).encode()).hexdigest()


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

    def check(self, num_elements: int) -> None:
        """Raises ValueError if the calibration was made for another number of elements."""
        got = self.element_response.size
        if num_elements != got:
            raise ValueError(f"--calibration: expected one of a surface of {num_elements} elements, got one of {got}")

    def check_surface(self, surface: Mapping[str, Any]) -> None:
        """Raises ValueError, which names what differs, for another surface, given as the fields of a `RISArray`."""
        expected = json.loads(json.dumps(surface))
        if self.about.get("surface_fingerprint") == surface_digest(expected):
            return
        made_for = self.about.get("surface", {})
        name = next((name for name in expected if made_for.get(name) != expected[name]), "surface")
        raise ValueError(
            f"--calibration: expected one of the installation's surface, {name} = {expected.get(name)!r}, "
            f"got one of {name} = {made_for.get(name)!r}"
        )

    def apply(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs by name, with ris_codes [B, L, N] or [L, N] and channel [B, M, N] corrected, complex64.

        Raises ValueError for another surface, or a channel that the correction does not belong to.
        """
        codes = np.asarray(inputs["ris_codes"])
        self.check(codes.shape[-1])
        changed = {**inputs, "ris_codes": (codes * self.element_response).astype(np.complex64)}
        if self.channel_correction is not None:
            changed["channel"] = self.corrected(np.asarray(inputs["channel"]))
        return changed

    def of(self, measurement: Measurement) -> Measurement:
        """`apply` for a measurement."""
        return Measurement(**self.apply(measurement.inputs(0, len(measurement))))

    def corrected(self, channel: np.ndarray) -> np.ndarray:
        """H + E in the units of H, [..., M, N] complex64. Raises ValueError for a channel of another installation."""
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
    """Reads a calibration file. Raises ValueError, one line, if it is absent or not a calibration."""
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
