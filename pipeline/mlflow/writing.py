"""Writes records as MLflow runs: a parent run for the pipeline run, and a nested run for each stage."""

import functools
import json
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunStatus, RunTag

from pipeline.mlflow.records import TAG, Found, Record, Scenes

MODEL = "model"
"""Artifact folder of an export that holds the SavedModel."""
RUN, STAGE, KEY, FOLDER = (TAG + name for name in ("run", "stage", "record", "folder"))
_PARENT = "mlflow.parentRunId"
_FINISHED = RunStatus.to_string(RunStatus.FINISHED)
_DIGEST_DIGITS = 36  # MLflow's limit; a tag has the whole hash
_BATCH = 100  # MLflow's limit for one call
_HEADLINES = ("f1", "precision", "recall", "rmse_xyz_m", "objective")


def write_run(client: MlflowClient, experiment: str, found: Found, name: str, logger: logging.Logger) -> dict[str, str]:
    """Writes the records that a store does not have yet, completes interrupted ones, and logs them. `name` is the ID
    by which the store recognises the run. Returns MLflow's run ID of each record, by the record's key."""
    parent = _parent(client, experiment, found, name)
    known = {run.data.tags.get(KEY): run for run in _search(client, experiment, _PARENT, parent.info.run_id)}
    runs = {}
    for record in found.records:
        run = known.get(record.key)
        if run is None or run.info.status != _FINISHED:
            run = run or _begin(client, experiment, parent, record)
            _fill(client, run, record)
            logger.info(f"tracked {record.stage} ({record.folder})")
        runs[record.key] = run.info.run_id
    _finish_parent(client, parent, found)
    return runs


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """Everything that a search of MLflow finds, page by page."""
    token: str | None = None
    while True:
        page = search(page_token=token)
        yield from page
        if not (token := page.token):
            return


def _search(client: MlflowClient, experiment: str, tag: str, value: str) -> Iterator[Run]:
    return pages(functools.partial(client.search_runs, [experiment], f"tags.`{tag}` = '{value}'"))


def _parent(client: MlflowClient, experiment: str, found: Found, name: str) -> Run:
    existing = next(_search(client, experiment, RUN, name), None)
    if existing is not None:
        return existing
    started = min((record.started_ms for record in found.records if record.stage != "data"), default=None)
    tags = {RUN: name, FOLDER: str(found.root.absolute())}
    return client.create_run(experiment, started, tags, found.root.absolute().name)


def _begin(client: MlflowClient, experiment: str, parent: Run, record: Record) -> Run:
    tags = {_PARENT: parent.info.run_id, STAGE: record.stage, KEY: record.key, FOLDER: record.folder}
    return client.create_run(experiment, record.started_ms, tags, record.stage)


def _fill(client: MlflowClient, run: Run, record: Record) -> None:
    """Writes all of a record. The call is idempotent."""
    number, time = run.info.run_id, record.finished_ms
    params = [Param(name, value) for name, value in record.params.items()]
    tags = [RunTag(name, value) for name, value in record.tags.items()]
    metrics = [Metric(name, value, time, 0) for name, value in record.metrics.items()]
    if record.tensorboard is not None:
        from pipeline.metrics.training_curves import read_scalars

        metrics += [
            Metric(name, value, time, epoch)
            for name, (epochs, values) in read_scalars(record.tensorboard).items()
            for epoch, value in zip(epochs, values, strict=True)
            if math.isfinite(value)
        ]
    entries: dict[str, list[Any]] = {"params": params, "tags": tags, "metrics": metrics}
    for kind, items in entries.items():
        for start in range(0, len(items), _BATCH):
            part: dict[str, Any] = {kind: items[start : start + _BATCH]}
            client.log_batch(number, **part)
    if record.scenes:
        client.log_inputs(number, [_dataset(scenes, record.stage) for scenes in record.scenes])
    for path, folder in record.files:
        client.log_artifact(number, str(path), folder or None)
    if record.model is not None:
        client.log_artifacts(number, str(record.model), MODEL)
    client.set_terminated(number, _FINISHED, time)


def _dataset(scenes: Scenes, stage: str) -> DatasetInput:
    source, profile = json.dumps({"uri": scenes.path}), json.dumps({"sha256": scenes.digest})
    dataset = Dataset(scenes.name, scenes.digest[:_DIGEST_DIGITS], "local", source, profile=profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", stage), InputTag("sha256", scenes.digest)])


def _finish_parent(client: MlflowClient, parent: Run, found: Found) -> None:
    """Writes to the parent run what runs are compared by: metrics of the evaluation, the model and the verdicts."""
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    for record in found.records:
        tags |= _headline_tags(record)
        if record.stage == "evaluate":
            metrics |= {name: record.metrics[name] for name in _HEADLINES if name in record.metrics}
    number, end = parent.info.run_id, max((record.finished_ms for record in found.records), default=0)
    if not (tags.items() <= parent.data.tags.items() and metrics.items() <= parent.data.metrics.items()):
        new_tags = [RunTag(name, value) for name, value in tags.items()]
        client.log_batch(number, [Metric(name, value, end, 0) for name, value in metrics.items()], tags=new_tags)
    if (parent.info.status, parent.info.end_time) != (_FINISHED, end):
        client.set_terminated(number, _FINISHED, end)


def _headline_tags(record: Record) -> dict[str, str]:
    names = {TAG + "verdict": f"{TAG}verdict.{record.stage}", "mlflow.source.git.commit": "mlflow.source.git.commit"}
    if record.stage == "export":
        names[TAG + "model"] = TAG + "model"
    return {shown: record.tags[name] for name, shown in names.items() if name in record.tags}
