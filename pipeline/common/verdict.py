"""The learnability verdict: what stands before costly stages."""

import json
from pathlib import Path

from tfds_shards.scene_sets import scene_set


class GateClosed(ValueError):
    """A costly stage may not go on; says why in one line."""


def require_verdict(path: Path | None, *configs: str) -> None:
    """Lets a stage begin if `python -m pipeline.learnability` said PASS for scenes of the same kind.

    Args:
      path: a learnability.json.
      configs: the sets of scenes it is for; the verdict is on scenes like one of them.

    Raises:
      GateClosed: no verdict, another one, or one for other scenes.
    """
    expected = "--learnability: expected the learnability.json of a training that PASSed"
    if path is None:
        raise GateClosed(f"{expected}, got none: run python -m pipeline.learnability first, or --force")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        verdict, reason, judged = record["verdict"], record["reason"], record["options"]["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GateClosed(f"{expected}, got none at {path} ({type(error).__name__})") from None
    if verdict != "PASS":
        raise GateClosed(f"{expected}, got {verdict} in {path}: {reason}")
    if scene_set(judged).config not in [scene_set(config).config for config in configs]:
        raise GateClosed(f"{expected} on scenes like {' or '.join(configs)}, got one on {judged} in {path}")
