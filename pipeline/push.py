"""`python -m pipeline.push`: a blessed and validated model into the folder a server watches; or an earlier one back."""

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import tyro

from pipeline.common.artifacts import now
from pipeline.common.records import logging_to
from pipeline.evaluation.estimators import latest_version
from pipeline.release.lineage import manifests_behind
from pipeline.release.pushing import (
    Version,
    check_verdicts,
    model_digest,
    push,
    read_release,
    roll_back,
    served_version,
    set_label,
    versions_in,
)


@dataclasses.dataclass(frozen=True)
class PushOptions:
    """Pushes a model as a new version that a running server takes up, or rolls back to an earlier one."""

    model_base_path: Path
    """Folder of the versions, what TF Serving calls --model_base_path."""
    saved_model: Path | None = None
    """A SavedModel, or the folder of its versions, of which the latest is taken."""
    blessing: Path | None = None
    """The blessing.json of `python -m pipeline.bless` on that model."""
    infra_validation: Path | None = None
    """The infra_validation.json of `python -m pipeline.infra_validate` on that model."""
    label: str | None = None
    """A name for the version, such as champion; an earlier version of that name loses it."""
    rollback: str | None = None
    """In place of a push: the version to serve from now on, by number or label, or "previous". Versions above it are
    withdrawn, not deleted; a withdrawn one comes back by its own number."""

    def __post_init__(self) -> None:
        needed = ("saved_model", "blessing", "infra_validation")
        given = [name for name in needed if getattr(self, name) is not None]
        if self.rollback is not None and given:
            raise ValueError(f"--rollback: expected no --{given[0].replace('_', '-')} beside it")
        if self.rollback is None and len(given) < len(needed):
            missing = next(name for name in needed if name not in given)
            raise ValueError(f"--{missing.replace('_', '-')}: expected a path, got none; a roll-back takes --rollback")


def push_model(options: PushOptions, logger: logging.Logger) -> Version:
    """Pushes, or rolls back; returns the version that is served then.

    Raises:
      ValueError: no blessing or validation of this very model, or no version to roll back to.
      Busy, OSError: another push is under way, or the disk is full.
    """
    if options.rollback is not None:
        version = roll_back(options.model_base_path, options.rollback)
        logger.info(f"rolled back: {options.model_base_path} serves version {version.number}")
    else:
        version = _push(options, logger)
    if options.label is not None:
        set_label(options.model_base_path, options.label, version.number)
    return version


def _push(options: PushOptions, logger: logging.Logger) -> Version:
    assert options.saved_model is not None
    assert options.blessing is not None
    assert options.infra_validation is not None
    staged = latest_version(options.saved_model)
    digest, blessing, infra = model_digest(staged), _read(options.blessing), _read(options.infra_validation)
    check_verdicts(digest, blessing, infra)
    served = served_version(options.model_base_path)
    if served is not None and _model_of(served) == digest:
        logger.info(f"nothing has changed: version {served.number} in {options.model_base_path} is this model")
        return served
    taken_back = [v.number for v in versions_in(options.model_base_path) if v.withdrawn and _model_of(v) == digest]
    if taken_back:
        raise ValueError(
            f"--saved-model: expected a model that was not taken back, got that of version {taken_back[-1]}; "
            f"--rollback {taken_back[-1]} brings it back"
        )
    manifests = [
        manifest for path in (staged, options.blessing, options.infra_validation) for manifest in manifests_behind(path)
    ]
    record = {
        "model": digest,
        "pushed": now(),
        "blessing": blessing,
        "infra_validation": infra,
        "manifests": list({manifest["digest"]: manifest for manifest in manifests}.values()),
    }
    version = push(staged, options.model_base_path, record)
    logger.info(f"pushed {version.path}")
    return version


def _model_of(version: Version) -> str | None:
    release = read_release(version.path)
    return release.get("model") if release is not None else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"expected a verdict at {path}, got none ({type(error).__name__})") from None
    return found


def main() -> None:
    """Command line entry point."""
    try:
        options = tyro.cli(PushOptions, prog="python -m pipeline.push")
        with logging_to(options.model_base_path.parent / "logs", "push") as (logger, log_path):
            logger.info(f"log: {log_path}")
            push_model(options, logger)
    except (ValueError, OSError) as error:
        first_line = str(error).strip().partition("\n")[0]
        sys.exit(f"pipeline.push: {first_line}")


if __name__ == "__main__":
    main()
