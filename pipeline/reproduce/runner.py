"""Runs the estimators behind quoted figures, keeps their outputs on disk, and compares measured with quoted figures."""

import functools
import logging
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from models.physics.geometry import Scenario
from pipeline.benchmark.cells import Cell
from pipeline.benchmark.estimators import EstimatorCache
from pipeline.common.artifacts import Fingerprint, Input, fingerprint, making, output_digest
from pipeline.common.digests import ROOT
from pipeline.common.main import parse
from pipeline.common.records import plain, versions, write_json
from pipeline.evaluate.options import EvaluateOptions
from pipeline.evaluate.runner import make_estimator
from pipeline.metrics.estimators import Estimator
from pipeline.metrics.evaluation import Evaluation, metrics_config
from pipeline.metrics.predictions import evaluate_predictions, load_predictions, run_estimator, save_predictions
from pipeline.reproduce.agreement import CONFIDENCE, agrees, measured
from pipeline.reproduce.claims import Claim, read_claims
from pipeline.reproduce.names import names
from pipeline.reproduce.options import QUICK_SCENES, ReproduceOptions
from tfds_shards.inputs import scene_batch
from tfds_shards.simulator import CONFIGS, SceneConfig, simulate_scene

WEIGHTS = ROOT / "models" / "weights" / "backbone.keras"
_OUTPUTS = ("reproduction.json", "cells")
_BATCH = 20
_NEEDS_MANY = ("rmse_xyz_m",)  # a few distant pairs dominate it, so --quick does not check it


class Needed(NamedTuple):
    """An estimator and the first test scenes of a set, on which it must run."""

    estimator: str
    config: str
    scenes: int

    def path(self, folder: Path) -> Path:
        """File with the outputs of the estimator."""
        name = re.sub(r"\W+", "_", self.estimator).strip("_")
        return folder / "cells" / self.config / f"{name}_{self.scenes}.npz"


def scenes_of(claim: Claim, quick: bool) -> int:
    """Number of scenes on which a claim is checked."""
    return min(claim.scenes, QUICK_SCENES) if quick else claim.scenes


def needed(claims: Sequence[Claim], quick: bool) -> list[Needed]:
    """The runs that the claims need: each pair of estimator and set once, with the largest number of scenes.

    Runs of the same estimator and installation are consecutive, so that `make` can reuse the estimator.
    """
    most: dict[tuple[str, str], int] = {}
    for claim in claims:
        for name in filter(None, (claim.estimator, claim.minus)):
            key = (name, claim.config)
            most[key] = max(most.get(key, 0), scenes_of(claim, quick))
    rows = [Needed(*key, count) for key, count in most.items()]
    return sorted(rows, key=lambda row: (row.estimator, repr(CONFIGS[row.config].scenario), row.config))


@functools.lru_cache(maxsize=1)
def make(estimator: str, scenario: Scenario) -> Estimator:
    """Creates an estimator for the installation of the scenes.

    It is named as in `benchmark`, or by options of `evaluate`, in which WEIGHTS stands for the path of the pretrained
    weights.
    """
    if not estimator.startswith("--"):
        return EstimatorCache(WEIGHTS).get(estimator, Cell("", SceneConfig("", scenario), scenario))
    words = shlex.split(estimator.replace("WEIGHTS", shlex.quote(str(WEIGHTS))))
    options = parse("evaluate", EvaluateOptions, [*words, "--output-dir", "unused"])
    return make_estimator(options, scenario)[1]


def first_batches(config: SceneConfig, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Simulates the first test scenes of a set, the same that `python -m pipeline.data` stores."""
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        yield scene_batch([simulate_scene(config, "test", number) for number in numbers], config.phase_bits)


def _measure_missing(folder: Path, rows: Sequence[Needed], logger: logging.Logger) -> None:
    missing = [row for row in rows if not row.path(folder).exists()]
    logger.info(f"{len(rows)} pairs of estimator and data set, {len(rows) - len(missing)} of them already done")
    with tqdm(total=sum(row.scenes for row in missing), unit="scene", desc="reproduce") as progress:
        for row in missing:
            progress.set_postfix_str(f"{row.estimator} on {row.config}")
            config = CONFIGS[row.config]
            batches = first_batches(config, row.scenes)
            answers = run_estimator(make(row.estimator, config.scenario), batches, row.scenes, show_progress=False)
            row.path(folder).parent.mkdir(parents=True, exist_ok=True)
            save_predictions(row.path(folder), answers)
            progress.update(row.scenes)


def compared(claims: Sequence[Claim], folder: Path, quick: bool) -> list[dict[str, Any]]:
    """One row for each claim: the quoted figure, the measured figure and whether they agree."""
    most = {(row.estimator, row.config): row for row in needed(claims, quick)}

    @functools.cache
    def answered(estimator: str, config: str, count: int) -> Evaluation:
        answers = load_predictions(most[estimator, config].path(folder)).first(count)
        return evaluate_predictions(answers, metrics_config(CONFIGS[config].scenario))

    rows = []
    for claim in claims:
        count = scenes_of(claim, quick)
        other = None if claim.minus is None else answered(claim.minus, claim.config, count)
        found = measured(claim, answered(claim.estimator, claim.config, count), other)
        verdict = agrees(claim.quoted, found, count / claim.scenes)
        rows.append({**plain(claim), "measured": plain(found), "measured_scenes": count, "agrees": verdict})
    return rows


def line(row: Mapping[str, Any]) -> str:
    """Formats a row for the console."""
    quoted, found = row["quoted"], row["measured"]
    interval = "" if quoted["interval"] is None else " [{:g}, {:g}]".format(*quoted["interval"])
    verdict = "agrees" if row["agrees"] else "DIFFERS"
    return (
        f"{verdict:8}{row['where']}, {row['figure']}: quoted {quoted['value']:g}{interval} of {row['scenes']}, "
        f"measured {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}] of {row['measured_scenes']}"
    )


def expected_fingerprint(options: ReproduceOptions) -> Fingerprint:
    """Fingerprint of the outputs of the estimators; the quoted figures are not part of it."""
    inputs = {"the weights": Input(output_digest(WEIGHTS), WEIGHTS)}
    return fingerprint("reproduce", options, inputs, left_out=("output_dir", "list_tables"))


def reproduce(options: ReproduceOptions, logger: logging.Logger) -> bool:
    """Measures the missing figures and compares all of them with the quoted ones; returns whether all agree."""
    chosen = names() if options.table == "all" else [options.table]
    claims = [claim for name in chosen for claim in read_claims(name)]
    if options.quick:
        claims = [claim for claim in claims if claim.figure not in _NEEDS_MANY]
    folder = options.folder
    with making(folder, expected_fingerprint(options), logger, leftovers=_OUTPUTS) as run:
        run.begin(options)
        _measure_missing(folder, needed(claims, options.quick), logger)
        rows = compared(claims, folder, options.quick)
        record = {"options": plain(options), "confidence": CONFIDENCE, "versions": versions(), "rows": rows}
        write_json(folder / "reproduction.json", record)
        run.finish(*_OUTPUTS)
    for name in chosen:
        logger.info(f"{name}:")
        for row in rows:
            if row["table"] == name:
                logger.info(f"  {line(row)}")
    differing = sum(not row["agrees"] for row in rows)
    verdict = (
        f"FAIL: {differing} of {len(rows)} figures differ" if differing else f"PASS: all {len(rows)} figures agree"
    )
    logger.info(f"{verdict}; reproduction.json in {folder}")
    return not differing
