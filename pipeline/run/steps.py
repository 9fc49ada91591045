"""The steps of a run in order: the options of each stage, whether its results exist, and what stops the run."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.bless import judging
from pipeline.bless.blessing import BLESSED
from pipeline.bless.options import BLESSING_FILE, BlessOptions
from pipeline.common.artifacts import Fingerprint, state
from pipeline.common.run_folders import read_record
from pipeline.confidence import training as confidence_training
from pipeline.confidence.options import ConfidenceOptions
from pipeline.data import building
from pipeline.data.options import DataOptions
from pipeline.evaluate import runner as evaluation
from pipeline.evaluate.options import EvaluateOptions
from pipeline.export import exporting
from pipeline.export.options import ExportOptions
from pipeline.fitting.loop import run_fingerprint
from pipeline.infra_validate import infra_validation
from pipeline.infra_validate.options import INFRA_FILE, InfraValidateOptions
from pipeline.infra_validate.options import VALID as INFRA_VALID
from pipeline.learnability import check as learnability_check
from pipeline.learnability.options import VERDICT_FILE, LearnabilityOptions
from pipeline.locate.options import LocateOptions
from pipeline.metrics.estimators import latest_version
from pipeline.mlflow.options import MlflowOptions
from pipeline.mlflow.state import is_tracked
from pipeline.push.options import PushOptions
from pipeline.refine.options import RefineOptions
from pipeline.refine.training import REFINER_MODEL
from pipeline.release.versions import model_digest, read_release, served_version
from pipeline.run.run_file import STAGES, RunFile
from pipeline.train.options import BEST_MODEL, TrainOptions
from pipeline.validate import validating
from pipeline.validate.options import VALID, VALIDATION_FILE, ValidateOptions
from tfds_shards.scene_sets import SceneSet, scene_set

MODEL_NAME = "ris_localizer"


@dataclasses.dataclass(frozen=True)
class Step:
    """One stage of a run.

    name: name of the stage.
    options: its options.
    needs: names of the steps that must end before it starts.
    is_done: whether its results exist and are unchanged; may raise `Differs`, and ValueError or OSError as long as its
      inputs do not exist.
    seconds: estimated duration on two cores.
    verdict: file of its verdict; None without.
    good: the verdict that is required for the run to continue; None if the verdict does not matter.
    """

    name: str
    options: Any
    needs: tuple[str, ...]
    is_done: Callable[[], bool]
    seconds: float
    verdict: Path | None = None
    good: str | None = None

    def stops(self) -> str | None:
        """The reason why its verdict stops the run; None if it does not."""
        if self.verdict is None or self.good is None:
            return None
        record = read_record(self.verdict)
        reasons = record.get("reasons") or [record.get("reason")]
        return None if record["verdict"] == self.good else f"{record['verdict']}: {'; '.join(map(str, reasons))}"


def steps(file: RunFile) -> list[Step]:
    """All steps of a run; ValueError if options are invalid or contradict each other."""
    return list(_steps(file))


def _steps(file: RunFile) -> Iterator[Step]:
    folder = file.run_dir
    site: dict[str, Any] = {"installation": file.installation}
    simulated = file.applied_to("data", DataOptions(data_dir=folder / "data", **site))
    scenes = scene_set(simulated.config, simulated.train, simulated.validation, simulated.test)
    yield Step("data", simulated, (), lambda: building.check_built(simulated), 3 + scenes.num_scenes / 500)
    base, at, place = simulated.config.partition("@")
    name = scene_set(base, simulated.train, simulated.validation, simulated.test).name + at + place
    places: dict[str, Any] = {"data_dir": simulated.data_dir, "config": name, **site}
    several = {**places, "config": (name,)}
    yield _validate(file.applied_to("validate", ValidateOptions(folder / "validation", **places)), scenes)

    trained = file.applied_to("train", TrainOptions(folder / "train", **several))
    yield _train(trained)
    weights, fitted, refiner, last = trained.run_dir / BEST_MODEL, None, None, "train"
    if file.has("confidence"):
        fit = file.applied_to("confidence", ConfidenceOptions(folder / "confidence", backbone=weights, **several))
        yield _confidence(fit)
        weights = fitted = fit.run_dir / BEST_MODEL
        last = "confidence"
    verdict = trained.run_dir / VERDICT_FILE if file.has("learnability") else None
    if verdict is not None:
        judged = LearnabilityOptions(trained.run_dir, fitted, **places)
        judged = file.applied_to("learnability", judged)
        yield _learnability(judged, last, "PASS" if file.has("refine") else None)
    if file.has("refine"):
        wanted_refiner = RefineOptions(folder / "refine", **several, backbone=weights, learnability=verdict)
        refined = file.applied_to("refine", wanted_refiner)
        yield _refine(refined, last if verdict is None else "learnability")
        last = "refine"
        weights, refiner = refined.run_dir / BEST_MODEL, refined.run_dir / REFINER_MODEL

    logs: dict[str, Any] = {"log_dir": folder / "logs", **site}
    model = ExportOptions(folder / "export" / MODEL_NAME, backbone=weights, refiner=refiner, **logs)
    exported = file.applied_to("export", model)
    yield Step("export", exported, (last,), lambda: exporting.exported(exported) is not None, 30)
    staged, serving = exported.model_base_path, folder / "serving" / MODEL_NAME
    measured = file.applied_to("evaluate", EvaluateOptions(folder / "evaluation", staged, **places))
    is_done = _unchanged(measured.output_dir, evaluation.expected_fingerprint, measured)
    yield Step("evaluate", measured, ("export",), is_done, 25 + 0.025 * measured.scenes)
    blessed = None
    if file.has("bless"):
        wanted = BlessOptions(staged, folder / "blessing", model_base_path=serving, **several)
        blessed = file.applied_to("bless", wanted)
        _check_blocks(file, scenes, measured, blessed)
        yield _bless(blessed)
    canary = InfraValidateOptions(staged, folder / "infra_validation", name, **site)
    canary = file.applied_to("infra_validate", canary)
    yield _infra_validate(canary)
    served, pushed_to = staged, None
    if file.has("push"):
        if blessed is None:
            raise ValueError(f"{file.path}: [push]: expected also a table [bless]: only a blessed model is pushed")
        verdicts = (blessed.run_dir / BLESSING_FILE, canary.run_dir / INFRA_FILE)
        pushed = file.applied_to("push", PushOptions(serving, staged, *verdicts))
        yield _push(pushed)
        served = pushed_to = pushed.model_base_path
    if file.has("mlflow"):
        tracked = file.applied_to("mlflow", MlflowOptions(folder, model_base_path=pushed_to))
        recorded = tuple(stage for stage in STAGES[: STAGES.index("mlflow")] if file.has(stage))
        yield Step("mlflow", tracked, recorded, lambda: is_tracked(tracked), 20)
    if file.has("locate"):
        sent = LocateOptions(served, folder / "measurement.npz", name, **logs)
        judged_by = tuple(stage for stage in ("bless", "infra_validate", "push") if file.has(stage))
        yield _locate(file.applied_to("locate", sent), judged_by, served)


def _check_blocks(file: RunFile, scenes: SceneSet, measured: EvaluateOptions, blessed: BlessOptions) -> None:
    """Checks that the evaluation does not use the test scenes that are reserved for the blessing."""
    evaluated = measured.scenes if measured.split == "test" else 0
    if evaluated + blessed.scenes > scenes.test:
        raise ValueError(
            f"{file.path}: [evaluate] and [bless]: expected at most {scenes.test} test scenes together, "
            f"got {evaluated} and {blessed.scenes}"
        )


def _unchanged(folder: Path, expected: Callable[..., Fingerprint], *given: Any) -> Callable[[], bool]:
    """Tells whether the results in a folder are complete and have the fingerprint `expected(*given)`."""
    return lambda: state(folder, expected(*given)) == "done"


def _validate(options: ValidateOptions, scenes: SceneSet) -> Step:
    is_done = _unchanged(options.run_dir, validating.expected_fingerprint, options)
    return Step(
        "validate", options, ("data",), is_done, 8 + scenes.num_scenes / 1500, options.run_dir / VALIDATION_FILE, VALID
    )


def _train(options: TrainOptions) -> Step:
    batches = options.epochs * options.steps_per_epoch * options.batch_size
    validated = (options.epochs + 1) * options.validation_scenes * len(options.config)
    is_done = _unchanged(options.run_dir, run_fingerprint, "train", options)
    return Step("train", options, ("validate",), is_done, 30 + 0.005 * batches + 0.02 * validated)


def _confidence(options: ConfidenceOptions) -> Step:
    located = (options.scenes + 3 * options.validation_scenes) * len(options.config)
    is_done = _unchanged(options.run_dir, confidence_training.expected_fingerprint, options)
    return Step("confidence", options, ("train",), is_done, 25 + 0.02 * located)


def _learnability(options: LearnabilityOptions, after: str, good: str | None) -> Step:
    """The step `learnability`; its verdict stops the run only before the costly refiner, where `good` is given."""
    seconds, record = 30 + 0.2 * options.scenes, options.run_dir / VERDICT_FILE
    stands = learnability_check.standing_verdict
    return Step("learnability", options, (after,), lambda: stands(options) is not None, seconds, record, good)


def _refine(options: RefineOptions, after: str) -> Step:
    batches = options.epochs * options.steps_per_epoch * options.batch_size
    is_done = _unchanged(options.run_dir, run_fingerprint, "refine", options)
    return Step("refine", options, (after,), is_done, 60 + 0.03 * batches)


def _bless(options: BlessOptions) -> Step:
    seconds, record = 25 + 0.05 * options.scenes * len(options.config), options.run_dir / BLESSING_FILE
    is_done = _unchanged(options.run_dir, judging.expected_fingerprint, options)
    return Step("bless", options, ("export",), lambda: is_done() and judging.stands(options), seconds, record, BLESSED)


def _infra_validate(options: InfraValidateOptions) -> Step:
    is_done = _unchanged(options.run_dir, infra_validation.expected_fingerprint, options)
    return Step("infra_validate", options, ("export",), is_done, 40, options.run_dir / INFRA_FILE, INFRA_VALID)


def _push(options: PushOptions) -> Step:
    def is_done() -> bool:
        assert options.saved_model is not None
        served = served_version(options.model_base_path)
        release = read_release(served.path) if served is not None else None
        return release is not None and release.get("model") == model_digest(latest_version(options.saved_model))

    return Step("push", options, ("bless", "infra_validate"), is_done, 5)


def _locate(options: LocateOptions, after: tuple[str, ...], base_path: Path) -> Step:
    """The step `locate`; it is done if its measurement file is newer than the served version."""

    def is_done() -> bool:
        version = served_version(base_path)
        written = options.output.stat().st_mtime if options.output.is_file() else 0.0
        return version is not None and written > version.path.stat().st_mtime

    return Step("locate", options, after, is_done, 25)
