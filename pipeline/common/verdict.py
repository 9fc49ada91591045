"""Checks the learnability verdict before an expensive stage starts."""

import json
from pathlib import Path

from pipeline.common.artifacts import output_digest
from tfds_shards.scene_sets import scene_set

UNTRAINED = "untrained"
"""Recorded in place of a hash for the untrained backbone of any shape, which is the classical estimator."""


class GateClosed(ValueError):
    """An expensive stage must not start; the message gives the reason."""


def starting_point(initial: Path | None) -> str:
    """The initial weights of a training: the hash of the file, or `UNTRAINED`."""
    return UNTRAINED if initial is None else output_digest(initial)


def require_verdict(path: Path | None, start: Path | None, *configs: str) -> None:
    """Requires that `ris-mvdr learnability` gave PASS for the initial weights of a stage; GateClosed
    otherwise.

    A stage with given initial weights needs the verdict about these weights. A stage that starts from the untrained
    backbone, `start` None, needs the verdict about a training that also started from it. The verdict must be about
    scenes like one of `configs`.
    """
    expected = "--learnability: expected the learnability.json of a training with verdict PASS"
    if path is None:
        raise GateClosed(f"{expected}, got none: run ris-mvdr learnability first, or --force")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        verdict, reason, judged = record["verdict"], record["reason"], record["options"]["config"]
        model, started_from = str(record["model"]), str(record["started_from"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GateClosed(f"{expected}, got none at {path} ({type(error).__name__})") from None
    if verdict != "PASS":
        raise GateClosed(f"{expected}, got {verdict} in {path}: {reason}")
    if scene_set(judged).config not in [scene_set(config).config for config in configs]:
        raise GateClosed(f"{expected} on scenes like {' or '.join(configs)}, got one on {judged} in {path}")
    wanted = starting_point(start)
    if wanted != (started_from if start is None else model):
        named = "the untrained backbone" if start is None else f"{start} ({wanted[:12]})"
        raise GateClosed(
            f"{expected} and is about {named}, got one about {model[:12]}, trained from {started_from[:12]}"
        )


def verdict_or_force(path: Path | None, start: Path | None, *configs: str, force: bool) -> str:
    """`require_verdict` unless `force` is set; returns the line for the log that says which of the two it was."""
    try:
        require_verdict(path, start, *configs)
        return f"learnability: PASS in {path}"
    except GateClosed as closed:
        if not force:
            raise
        return f"--force: started without a valid learnability verdict ({closed})"
