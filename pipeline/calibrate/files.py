"""Reads and writes the calibration file: the response to apply, the sums for updates and checks, the provenance."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.physics.geometry import RISArray
from pipeline.calibrate.fitting import FitState
from pipeline.calibrate.solution import Prior
from pipeline.calibrate.sums import Sums
from pipeline.common.digests import file_digest
from pipeline.common.records import git_commit, plain, versions
from pipeline.scenes.surfaces import check_surface, surface_fingerprint
from serving.client.calibration import read_calibration
from serving.client.files import replacing


@dataclasses.dataclass(frozen=True)
class StoredCalibration:
    """A calibration with the statistics it was computed from.

    element_response: g, [N] complex64, zero for dead elements; the others have median amplitude 1 and mean phase 0.
    element_response_std: standard errors of g, [N] float32.
    dead: whether an element is dead, [N] bool.
    covariance: covariance of (Re g, Im g), [2N, 2N] float32.
    sums: weighted sums over all scenes, at the response.
    prior: prior that the response was computed with.
    about: provenance.
    channel, channel_correction: [M, N] complex64; None without a channel correction.
    """

    element_response: np.ndarray
    element_response_std: np.ndarray
    dead: np.ndarray
    covariance: np.ndarray
    sums: Sums
    prior: Prior
    about: dict[str, Any]
    channel: np.ndarray | None = None
    channel_correction: np.ndarray | None = None


_SUMS = "sums_"


def provenance(array: RISArray, inputs: Sequence[Path], scenes: int, options: Any) -> dict[str, Any]:
    """Provenance of a calibration: surface, hashes of the inputs, options, versions of the code."""
    return {
        "surface": plain(array),
        "surface_fingerprint": surface_fingerprint(array),
        "inputs": [{"file": path.name, "sha256": file_digest(path)} for path in inputs],
        "scenes": scenes,
        "options": plain(options),
        "versions": versions(),
        "git_commit": git_commit(),
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_calibration(path: Path, stored: StoredCalibration) -> None:
    """Writes a calibration file atomically."""
    arrays = {
        "element_response": stored.element_response.astype(np.complex64),
        "element_response_std": stored.element_response_std.astype(np.float32),
        "dead": stored.dead,
        "covariance": stored.covariance.astype(np.float32),
        "prior": np.array([stored.prior.mean, stored.prior.variance]),
        "about": np.array(json.dumps(plain(stored.about))),
        **{_SUMS + name: value for name, value in dataclasses.asdict(stored.sums).items()},
    }
    if stored.channel_correction is not None and stored.channel is not None:
        arrays["channel"] = stored.channel.astype(np.complex64)
        arrays["channel_correction"] = stored.channel_correction.astype(np.complex64)
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def read_stored(path: Path, array: RISArray) -> StoredCalibration:
    """Reads a calibration with its sums; ValueError if the file is not one of this surface."""
    light = read_calibration(path)
    check_surface(light, array)
    with np.load(path, allow_pickle=False) as file:
        try:
            arrays = {f.name: file[_SUMS + f.name] for f in dataclasses.fields(Sums)}
            sums = Sums(**arrays | {name: float(arrays[name]) for name in ("scenes", "nll")})
            return StoredCalibration(
                light.element_response,
                file["element_response_std"],
                file["dead"],
                file["covariance"].astype(np.float64),
                sums,
                Prior(*map(float, file["prior"])),
                light.about,
                light.channel,
                light.channel_correction,
            )
        except KeyError as error:
            raise ValueError(f"{path}: expected a file of python -m pipeline.calibrate, got: {error}") from None


def write_state(path: Path, state: FitState, fingerprint: str) -> None:
    """Writes the state of an unfinished search atomically."""
    with replacing(path) as temporary:
        np.savez(
            temporary,
            allow_pickle=False,
            response=state.response,
            prior=np.array([state.prior.mean, state.prior.variance]),
            on_all=state.on_all,
            fingerprint=np.array(fingerprint),
        )


def read_state(path: Path, fingerprint: str) -> FitState | None:
    """Reads the unfinished search of the same inputs and options; None without a file, ValueError if it is of other
    ones."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["fingerprint"]) != fingerprint:
                raise ValueError(
                    f"{path}: expected the unfinished run of these inputs and options, got one with others; delete it"
                )
            return FitState(file["response"], Prior(*map(float, file["prior"])), bool(file["on_all"]))
    except (OSError, KeyError, EOFError) as error:
        raise ValueError(f"{path}: expected the state of an unfinished run, got: {error}; delete it") from None
