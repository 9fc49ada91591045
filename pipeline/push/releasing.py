"""Pushes a blessed and validated model together with its lineage, or rolls back."""

import logging

from pipeline.common.artifacts import now
from pipeline.common.run_folders import read_record
from pipeline.metrics.estimators import latest_version
from pipeline.push.options import PushOptions
from pipeline.release import versions
from pipeline.release.lineage import manifests_behind
from pipeline.release.versions import Version, model_digest, read_release, served_version


def push_model(options: PushOptions, logger: logging.Logger) -> Version:
    """Pushes, or rolls back; returns the version that is served afterwards. Raises ValueError if the model is not
    blessed and validated, or there is no version to roll back to; `Busy` if another push is running."""
    if options.rollback is not None:
        version = versions.roll_back(options.model_base_path, options.rollback)
        logger.info(f"rolled back: {options.model_base_path} serves version {version.number}")
    else:
        version = _push(options, logger)
    if options.label is not None:
        versions.set_label(options.model_base_path, options.label, version.number)
    return version


def _push(options: PushOptions, logger: logging.Logger) -> Version:
    assert options.saved_model is not None and options.blessing is not None and options.infra_validation is not None
    staged = latest_version(options.saved_model)
    digest, blessing, infra = model_digest(staged), read_record(options.blessing), read_record(options.infra_validation)
    versions.check_verdicts(digest, blessing, infra)
    served = served_version(options.model_base_path)
    if served is not None and _model_of(served) == digest:
        logger.info(f"nothing has changed: version {served.number} in {options.model_base_path} is this model")
        return served
    existing = versions.versions_in(options.model_base_path)
    withdrawn = [version.number for version in existing if version.withdrawn and _model_of(version) == digest]
    if withdrawn:
        raise ValueError(
            f"--saved-model: expected a model that was not withdrawn, got that of version {withdrawn[-1]}; "
            f"--rollback {withdrawn[-1]} restores it"
        )
    sources = (staged, options.blessing, options.infra_validation)
    manifests = {manifest["digest"]: manifest for path in sources for manifest in manifests_behind(path)}
    record = {
        "model": digest,
        "pushed": now(),
        "blessing": blessing,
        "infra_validation": infra,
        "manifests": list(manifests.values()),
    }
    version = versions.push(staged, options.model_base_path, record)
    logger.info(f"pushed {version.path}")
    return version


def _model_of(version: Version) -> str | None:
    return (read_release(version.path) or {}).get("model")
