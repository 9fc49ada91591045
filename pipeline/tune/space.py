"""The search spaces: which options are tuned, and within which limits.

A trial of training options is a training; a trial of inference options only evaluates given weights. Each kind has its
own space and its own study. The following options are not tuned:

- losses.heat_map and losses.start: Adam cancels a common factor of the losses of a group of weights.
- losses.peak_contrast: it is off by the loss policy.
- the grid and backbone.stages: they set the cost of a trial, not its quality within a budget.
- the batch size: it would change the number of scenes that a trial sees.
- backbone.refinement.spare_atoms and localizer.detection.merge_cells: they have no effect without reflections.
- localizer.shrinkage.base_alpha and localizer.detection.contrast_db: peaks of the spectrum at atoms of R_pred are these
  atoms, so that the two only matter for sources read off the spectrum, or with a refiner.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner as kt

from models.checked import read_json
from pipeline.common.hyperparameters import option, replaced
from pipeline.train.options import TrainOptions
from pipeline.tune.options import InferenceOptions


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from low to high, ends included; integers if the option is an integer."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"expected low < high, got {self.low!r}, {self.high!r}")
        if self.log and not self.low > 0:
            raise ValueError(f"expected low > 0 on a log scale, got {self.low!r}")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, at least two of them different."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise ValueError(f"expected two values or more, got {list(self.values)!r}")


Space = Mapping[str, Range | Choice]
"""Domains by the dotted name of an option of `ris-mvdr train`; for inference backbone.refinement.* and localizer.*, the
latter as in `ris-mvdr export`."""

SHAPE = ("backbone.stages", "backbone.width", "backbone.depth")
"""Options that set the shapes of the weights; fixed if a study starts from given weights."""

_OF_INFERENCE = ("backbone.refinement.", "localizer.")

TRAINING_SPACE: Space = {
    "learning_rate": Range(3e-5, 1e-2, log=True),
    "losses.stein": Range(1e-3, 1.0, log=True),
    "losses.subspace_alignment": Range(1e-2, 10.0, log=True),
    "backbone.width": Choice((8, 16, 24)),
    "backbone.depth": Range(2, 4),
    "backbone.exponent": Range(0.4, 1.2),
    "backbone.active_atoms": Choice((8, 16, 32, 64, 128)),
}
"""The default of `--knobs training`."""

INFERENCE_SPACE: Space = {
    "backbone.refinement.steps": Range(1, 10),
    "backbone.refinement.additions": Range(1, 12),
    "backbone.refinement.addition_steps": Range(1, 6),
    "backbone.refinement.prune_llr": Range(3.0, 60.0, log=True),
    "localizer.decision.min_score": Range(0.1, 0.9),
    "localizer.multipath.min_llr": Range(6.0, 30.0, log=True),
}
"""The default of `--knobs inference`."""


def searched(space: Space, base: TrainOptions | InferenceOptions) -> dict[str, Range | Choice]:
    """The part of a space that can change; with --initial, the shapes of the weights cannot."""
    free = {name: domain for name, domain in space.items() if base.initial is None or name not in SHAPE}
    if isinstance(base, InferenceOptions):
        for name in free:
            if not name.startswith(_OF_INFERENCE):
                raise ValueError(f"--space: expected backbone.refinement.* and localizer.* of inference, got {name}")
    for name, domain in free.items():
        ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
        whole = isinstance(option(base, name), int)
        for end in ends:
            replaced(base, {name: int(end) if whole and float(end).is_integer() else end})
    if not free:
        raise ValueError("--space: expected an option that can change, got none")
    return free


def hyperparameters(space: Space, base: TrainOptions | InferenceOptions) -> kt.HyperParameters:
    """The space for KerasTuner; the defaults are those of `base` where they lie inside."""
    found = kt.HyperParameters()
    for name, domain in space.items():
        default = option(base, name)
        if isinstance(domain, Choice):
            found.Choice(name, list(domain.values), default=default if default in domain.values else None)
            continue
        inside = default if domain.low <= default <= domain.high else None
        sampling = "log" if domain.log else "linear"
        if isinstance(default, int):
            found.Int(name, int(domain.low), int(domain.high), sampling=sampling, default=inside)
        else:
            found.Float(name, domain.low, domain.high, sampling=sampling, default=inside)
    return found


def read_space(path: Path) -> dict[str, Range | Choice]:
    """Reads a space from a JSON file of options and their domains.

    For example {"learning_rate": {"low": 1e-4, "high": 1e-3, "log": true}} or {"backbone.width": {"values": [8, 16]}}.
    """
    try:
        given: dict[str, Any] = read_json(path, dict[str, Any])
    except ValueError as error:
        raise ValueError(f"--space: {error}") from None
    return {name: _domain(name, domain) for name, domain in given.items()}


def _domain(name: str, given: Any) -> Range | Choice:
    try:
        if "values" in given:
            return Choice(tuple(given["values"]))
        return Range(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--space: {name}: expected low and high, or values, got {given!r}: {error}") from None
