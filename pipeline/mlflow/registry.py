"""Registers exported models in MLflow and moves two aliases: `candidate`, exported last, and `champion`, served now."""

import functools
import logging
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.mlflow.records import TAG, Found, Record
from pipeline.mlflow.writing import FOLDER, MODEL, pages
from pipeline.release.versions import model_digest, served_version

CANDIDATE, CHAMPION = "candidate", "champion"
_MODEL, _EXPORTED = TAG + "model", TAG + "exported"


def register(
    client: MlflowClient, found: Found, runs: Mapping[str, str], name: str | None, logger: logging.Logger
) -> None:
    """Registers the exported models, tags them with their pushes, moves the aliases, and logs every change.

    runs: MLflow's run ID of each record, by the record's key. name: of the model in the registry; None takes the name
    of the folder it was exported to.
    """
    exports = [record for record in found.records if record.model is not None]
    named = name or next((record.model.parent.name for record in exports if record.model is not None), None)
    if named is None and found.serving is not None:
        named = found.serving.resolve().name
    if named is None:
        return
    if not client.search_registered_models(f"name = '{named}'"):
        if not exports:
            return
        client.create_registered_model(named)
    known = {version.tags[_MODEL]: version for version in _versions(client, named)}
    for record in exports:
        digest = record.tags[_MODEL]
        if digest not in known:
            known[digest] = _create(client, named, record, runs[record.key])
            logger.info(f"registered {named} {known[digest].version}, exported as {record.tags[_EXPORTED]}")
    for record in found.records:
        if record.stage == "push":
            _set_tags(client, known[record.tags[_MODEL]], record.tags)
    if known:
        newest = max(known.values(), key=lambda version: int(version.tags[_EXPORTED]))
        _move_alias(client, named, CANDIDATE, newest, logger)
    if found.serving is not None and (served := served_version(found.serving)) is not None:
        version = known.get(model_digest(served.path))
        if version is None:
            logger.info(f"{served.path} is served but not registered: track the run that it comes from")
        _move_alias(client, named, CHAMPION, version, logger)


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions that this module registered."""
    found = pages(functools.partial(client.search_model_versions, f"name = '{name}'"))
    return [version for version in found if {_MODEL, _EXPORTED} <= version.tags.keys()]


def _create(client: MlflowClient, name: str, record: Record, run: str) -> ModelVersion:
    assert record.model is not None
    source = f"{client.get_run(run).info.artifact_uri}/{MODEL}"
    tags = {_MODEL: record.tags[_MODEL], _EXPORTED: record.tags[_EXPORTED], FOLDER: str(record.model.absolute())}
    return client.create_model_version(name, source, run, tags)


def _set_tags(client: MlflowClient, version: ModelVersion, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)


def _move_alias(
    client: MlflowClient, name: str, alias: str, version: ModelVersion | None, logger: logging.Logger
) -> None:
    """Moves an alias to a version, or deletes it if there is no version."""
    current = client.get_registered_model(name).aliases.get(alias)
    wanted = None if version is None else str(version.version)
    if wanted == (None if current is None else str(current)):
        return
    if wanted is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, wanted)
    logger.info(f"{name}@{alias}: {'no version' if wanted is None else f'version {wanted}'}")
