"""Checks of a set of scenes, and the skew between training scenes and the measurements sent to a server."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy import stats

from tfds_shards.scene_sets import SceneSet

_SNR_LIMITS_DB = (-60.0, 80.0)  # values outside are not plausible
_ROUNDING = 1e-5
Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass
class Findings:
    """Findings in scenes.

    faults: number of scenes with each fault, by its description.
    figures: statistics of each scene, by name.
    hashes: hash of each scene.
    """

    faults: dict[str, int] = dataclasses.field(default_factory=dict)
    figures: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    hashes: list[bytes] = dataclasses.field(default_factory=list)

    def add(self, fault: str, scenes: Any) -> None:
        """Counts the scenes of a mask [B]."""
        if scenes.any():
            self.faults[fault] = self.faults.get(fault, 0) + int(scenes.sum())

    def measured(self) -> dict[str, np.ndarray]:
        """The statistics of all scenes, by name; [S] each."""
        return {name: np.concatenate(parts) for name, parts in self.figures.items()}


def inspect(batches: Iterable[Batch], expected: SceneSet) -> Findings:
    """Checks every scene of a split, in batches from `load_scenes` as arrays."""
    found = Findings()
    for batch in batches:
        places = np.arange(len(batch["snr_db"])) + len(found.hashes)
        found.add("its number is not its place in the split", batch["index"] != places)
        _inspect_measurement(batch, found)
        _inspect_sources(batch, expected, found)
        for name, values in {**measurement_figures(batch), "num_sources": batch["num_sources"]}.items():
            found.figures.setdefault(name, []).append(values)
        found.hashes += [hashlib.blake2b(scene.tobytes(), digest_size=12).digest() for scene in batch["snapshots"]]
    return found


def _inspect_measurement(batch: Batch, found: Findings) -> None:
    for name in ("snapshots", "channel"):
        value = batch[name].reshape(len(batch["snr_db"]), -1)
        found.add(f"{name} is not finite", ~np.isfinite(value).all(axis=-1))
        found.add(f"{name} has no power", ~(np.abs(value) > 0).any(axis=-1))
    low, high = _SNR_LIMITS_DB
    found.add(f"snr_db is not in {low:g} to {high:g} dB", ~((batch["snr_db"] >= low) & (batch["snr_db"] <= high)))


def _inspect_sources(batch: Batch, expected: SceneSet, found: Findings) -> None:
    scenario = expected.config.scenario
    slots = np.arange(batch["azimuth"].shape[-1])
    used = slots < batch["num_sources"][:, None]
    few, many = batch["num_sources"] < 1, batch["num_sources"] > scenario.max_sources
    found.add(f"num_sources is not in 1 to {scenario.max_sources}", few | many)
    for name in ("azimuth", "elevation", "range_m"):
        low, high = np.array(getattr(scenario.field_of_view, name))
        value, slack = batch[name], _ROUNDING * (high - low)
        outside = used & ~((value >= low - slack) & (value <= high + slack))
        found.add(f"{name} of a source is outside the field of view", outside.any(axis=-1))
    unusable = used & ~((batch["power"] > 0) & np.isfinite(batch["power"]))
    found.add("power of a source is not a positive number", unusable.any(axis=-1))
    rest = np.stack([batch[name] for name in ("azimuth", "elevation", "range_m", "power")])
    found.add("a slot beyond num_sources is not zero", (~used & (rest != 0)).any(axis=(0, -1)))


def measurement_figures(batch: Batch) -> dict[str, np.ndarray]:
    """Statistics of measurements that do not depend on their scale, [B] float64 each; skew is measured with them.

    snr_db: reported SNR, dB. peak_db: strongest sample over the mean power, dB. principal_share: share of the largest
    eigenvalue of the sample covariance. channel_spread_db: standard deviation of the channel gains, dB.
    """
    snapshots, channel = batch["snapshots"], batch["channel"]
    power = np.abs(snapshots) ** 2
    mean = np.maximum(power.mean(axis=(1, 2)), np.finfo(np.float32).tiny)
    covariance = np.einsum("blm,bln->bmn", snapshots, snapshots.conj()) / snapshots.shape[1]
    finite = np.isfinite(covariance).all(axis=(1, 2))
    eigenvalues = np.linalg.eigvalsh(np.where(finite[:, None, None], covariance, 0.0))
    eigenvalues[~finite] = np.nan  # reported as a fault of its own; the decomposition of NaN does not converge
    gains_db = 20.0 * np.log10(np.maximum(np.abs(channel), 1e-30)).reshape(len(channel), -1)
    return {
        "snr_db": np.asarray(batch["snr_db"], np.float64),
        "peak_db": 10.0 * np.log10(power.max(axis=(1, 2)) / mean),
        "principal_share": eigenvalues[:, -1] / np.maximum(eigenvalues.sum(axis=-1), 1e-30),
        "channel_spread_db": gains_db.std(axis=-1),
    }


def duplicates(by_split: Mapping[str, Findings]) -> list[str]:
    """Describes the scenes that occur twice, in one split or in two."""
    seen: dict[bytes, tuple[str, int]] = {}
    found = []
    for split, findings in by_split.items():
        for index, scene in enumerate(findings.hashes):
            first = seen.setdefault(scene, (split, index))
            if first != (split, index):
                found.append(f"scene {index} of {split} is scene {first[1]} of {first[0]}")
    return found


def summary(values: np.ndarray) -> dict[str, float]:
    """Quantiles, mean and standard deviation of a statistic."""
    quantiles = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 1.0])
    named = dict(zip(("min", "q25", "median", "q75", "max"), map(float, quantiles), strict=True))
    return {**named, "mean": float(values.mean()), "std": float(values.std())}


def skew(
    training: Mapping[str, np.ndarray], served: Mapping[str, np.ndarray], limit: float
) -> dict[str, dict[str, Any]]:
    """Kolmogorov-Smirnov distance between served measurements and training scenes, for every statistic of
    `measurement_figures`. limit: largest distance without skew; with few measurements, the larger limit of the
    two-sample test at 1 % applies."""
    found = {}
    for name in served:
        first, second = training[name], served[name]
        distance = float(stats.ks_2samp(first, second).statistic)
        chance = 1.63 * math.sqrt((len(first) + len(second)) / (len(first) * len(second)))
        found[name] = {"distance": distance, "limit": max(limit, chance), "skewed": distance > max(limit, chance)}
    return found
