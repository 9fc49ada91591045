"""A study: Stage 1, the gate, Stage 2, and the files that it writes."""

import contextlib
import dataclasses
import json
import logging
import os
from typing import Any

import keras_tuner as kt
import tensorflow as tf

from pipeline.common.artifacts import folder_lock
from pipeline.common.records import plain, replacing, write_config, write_json
from pipeline.common.verdict import GateClosed, verdict_or_force
from pipeline.metrics.match_counts import Difference
from pipeline.tune.inference import set_weights
from pipeline.tune.options import InferenceOptions, TuneOptions
from pipeline.tune.oracles import RerankOracle, ResumableOracle, best_values, ends_first, search_oracle
from pipeline.tune.report import write_report
from pipeline.tune.results import Row, cost, rows, surrogate_against_objective, table
from pipeline.tune.separation import Separation, best_minus_defaults, separation
from pipeline.tune.space import INFERENCE_SPACE, TRAINING_SPACE, hyperparameters, read_space, searched
from pipeline.tune.surrogate import stage_1_scenes
from pipeline.tune.trial import Trials, whole_record
from pipeline.tune.tuner import MVDR_FINAL, SURROGATE, TwoStageTuner, is_worker
from tfds_shards.scene_sets import scene_set

_PORT = "KERASTUNER_ORACLE_PORT"
_FREE_TO_CHANGE = ("force", "learnability", "data_dir", "run_dir", "lease_s", "test_scenes", "gate_after")


class Study:
    """Runs, or resumes, the study in options.run_dir. The logger receives one line per trial and the results.

    GateClosed without a valid learnability verdict or --force; ValueError if the folder holds another study.
    """

    def __init__(self, options: TuneOptions, logger: logging.Logger) -> None:
        self.options, self.logger = options, logger
        self.notes: list[str] = []
        self.note(verdict_or_force(options.learnability, options.initial, options.config, force=options.force))
        self._require_scenes()
        base, default = options.base(), TRAINING_SPACE if options.knobs == "training" else INFERENCE_SPACE
        self.space = searched(default if options.space is None else read_space(options.space), base)
        self.parameters = hyperparameters(self.space, base)
        batches = stage_1_scenes(options.data_dir, options.config, options.final_scenes, options.surrogate_scenes)
        self.trials = Trials(base, batches, options.patience)
        self._require_same_options()

    def _require_scenes(self) -> None:
        options, sizes = self.options, scene_set(self.options.config).sizes
        together = options.final_scenes + options.surrogate_scenes
        for name, split, count in (
            ("--final-scenes and --surrogate-scenes together", "validation", together),
            ("--probe-scenes", "validation", options.probe_scenes),
            ("--test-scenes", "test", options.test_scenes),
        ):
            if count > sizes[split]:
                raise ValueError(f"{name}: expected at most {sizes[split]}, the {split} scenes there are, got {count}")

    def _require_same_options(self) -> None:
        """Compares the options with those that the study in the folder was started with."""
        given = {name: item for name, item in plain(self.options).items() if name not in _FREE_TO_CHANGE}
        given["space"] = plain({name: dataclasses.asdict(domain) for name, domain in self.space.items()})
        path = self.options.run_dir / "study.json"
        try:
            started = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # a new study, or a damaged file
            started = given
        for name, item in given.items():
            if started.get(name) != item:
                raise ValueError(
                    f"--{name.replace('_', '-')}: expected {started.get(name)!r}, the value that the study in "
                    f"{self.options.run_dir} was started with, got {item!r}"
                )
        if not is_worker():
            write_json(path, given)

    def note(self, line: str) -> None:
        """Logs a line that also goes into the report."""
        self.logger.info(line)
        self.notes.append(line)

    def run(self) -> None:
        """Runs both stages; GateClosed if noise alone explains how the candidates of Stage 2 differ, and no --force."""
        options = self.options
        surrogate, mvdr_final = (kt.Objective(name, "min") for name in (SURROGATE, MVDR_FINAL))
        stage1 = search_oracle(options.search, surrogate, self.parameters, options.trials, options.epochs, options.seed)
        self._search(stage1, options.stage1, options.probe_scenes, 1, options.trials)
        candidates = best_values(stage1, options.top)
        stage2 = RerankOracle(ends_first(candidates), mvdr_final, self.parameters, self._should_stop)
        if _PORT in os.environ:  # a late worker may still call the oracle of Stage 1
            os.environ[_PORT] = str(int(os.environ[_PORT]) + 1)
        self._search(stage2, options.stage2, options.final_scenes, options.trainings, options.top)
        if not is_worker():
            self._conclude(stage1, stage2, candidates)

    def _search(self, oracle: ResumableOracle, name: str, scenes: int, seeds: int, total: int) -> None:
        oracle.lease_s, oracle.log = self.options.lease_s, self.logger.info
        folder = (self.options.run_dir, name)
        TwoStageTuner(oracle, self.trials, scenes, seeds, *folder, total, self.logger).search(verbose=0)

    def _separation(self, values: list[dict[str, Any]]) -> Separation:
        scenes, trainings = self.options.final_scenes, range(self.options.trainings)
        return separation([[self.trials.tally(each, scenes, nth) for nth in trainings] for each in values])

    def _should_stop(self, done: list[dict[str, Any]]) -> bool:
        """True if Stage 2 ends early: --gate-after candidates are scored and noise alone explains how they differ."""
        if len(done) < self.options.gate_after:
            return False
        found = self._separation(done)
        self.logger.info(f"gate: {found}")
        return not found.exceeds_noise and not self.options.force

    def _conclude(self, stage1: ResumableOracle, stage2: ResumableOracle, candidates: list[dict[str, Any]]) -> None:
        """Writes the tables, best.json and the report; raises GateClosed if noise alone explains Stage 2."""
        options = self.options
        first = rows(stage1, self.trials, options.probe_scenes)
        second = rows(stage2, self.trials, options.final_scenes, options.trainings)
        write_json(options.run_dir / "table.json", {options.stage1: table(first), options.stage2: table(second)})
        done = [row for row in second if row.outcome is not None]
        if not done:
            raise ValueError(f"no trial of {options.stage1 if not candidates else options.stage2} completed")
        self.note(
            f"Stage 1, surrogate against MVDR-final on {options.probe_scenes} scenes: "
            f"{surrogate_against_objective(first)}"
        )
        self.note(f"Stage 1, {cost(first)}")
        try:
            self._gate(done, len(candidates))
            self._write_best(done)
        finally:
            report = options.run_dir / "report.html"
            write_report(report, options.stage2, self.notes, first, second, self.space)
            self.logger.info(f"report: {report}")

    def _gate(self, done: list[Row], candidates: int) -> None:
        if len(done) < 2:
            return
        found = self._separation([row.values for row in done])
        if found.exceeds_noise:
            self.note(f"gate: {found}")
        elif self.options.force:
            self.note(f"--force: candidates ranked although they can't be told apart ({found})")
        else:
            self.note(f"gate: Stage 2 stopped after {len(done)} of {candidates}; {found}")
            raise GateClosed(f"Stage 2 stopped, its candidates can't be told apart: {found}")

    def _write_best(self, done: list[Row]) -> None:
        """Writes best.json if the best trial is not worse than the defaults on test scenes, else best_trial.json."""
        options = self.options
        best = min(done, key=lambda row: (row.outcome.objective, row.number))  # type: ignore[union-attr]
        self.note(f"best: trial {best.number + 1} of Stage 2, {best.outcome}")
        against = self._against_defaults(best, done) if options.test_scenes else None
        record = {
            "study": options.stage2,
            "values": best.values,
            "outcome": best.outcome,
            "outcomes": best.outcomes,
            "objective_minus_defaults": against,
            "options": self._record(best.values),
        }
        written, outdated = options.run_dir / "best.json", options.run_dir / "best_trial.json"
        if against is None or against.difference > 0:
            written, outdated = outdated, written
            worse = "is worse than the defaults on the test scenes"
            reason = "was not compared with the defaults (--test-scenes 0)" if against is None else worse
            self.note(f"no best.json: the best trial {reason}; see best_trial.json")
        outdated.unlink(missing_ok=True)
        write_json(written, record)

    def _record(self, values: dict[str, Any]) -> dict[str, Any]:
        """All options of the best trial; for inference also writes the weights, which hold a part of the settings."""
        options = self.trials.options(values)
        if not isinstance(options, InferenceOptions):
            return whole_record(options)
        path = self.options.run_dir / "best.keras"
        with replacing(path) as temporary:
            set_weights(options).save(temporary)
        return {"backbone": str(path), **whole_record(options)}

    def _against_defaults(self, best: Row, done: list[Row]) -> Difference:
        """The best trial minus the untuned defaults, on test scenes, which no decision of the study used."""
        scenes, found = self.options.test_scenes, []
        for name, values in (("best trial", best.values), ("defaults", {})):
            trainings = [self.trials.test(values, scenes, nth) for nth in range(self.options.trainings)]
            found.append(trainings)
            for nth, tally in enumerate(trainings):
                total = tally.total()
                self.note(
                    f"{name}, seed {self.options.seed + nth}, on {scenes} test scenes: objective "
                    f"{float(total.objective):.4f}, F1 {float(total.f1):.4f}, rmse_xyz {float(total.rmse_xyz_m):.3f} m"
                )
        others = [[outcome.objective for outcome in row.outcomes] for row in done if row is not best]
        difference = best_minus_defaults(found[0], found[1], others)
        self.note(f"best trial minus defaults: objective {difference:+.4f}")
        return difference


def tune(options: TuneOptions, logger: logging.Logger) -> None:
    """Runs, or resumes, the study in options.run_dir; Busy if another process works in the folder, and as `Study`."""
    tf.config.experimental.enable_op_determinism()  # a resumed study ends with the same results
    with contextlib.nullcontext() if is_worker() else folder_lock(options.run_dir):
        study = Study(options, logger)
        if not is_worker():
            write_config(options.run_dir / "config.json", options)
        study.run()
