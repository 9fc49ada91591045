"""A localizer's outputs as scenes, and the JSON file they are written to."""

import contextlib
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.files import replacing
from serving.client.scene import SOURCE_OUTPUTS, Scene


def scenes_of(outputs: Mapping[str, np.ndarray], model_version: int | None) -> list[dict[str, Any]]:
    """The outputs as plain data, one entry per scene, with the version of the model that gave them.

    Args:
      outputs: num_sources int [B], `SOURCE_OUTPUTS` [B, K_max, ...] and any others. Those of shape [B, K_max, ...]
        belong to the sources, the rest to the scene.
    """
    for name in ("num_sources", *SOURCE_OUTPUTS):
        if name not in outputs:
            raise ValueError(f"{name}: expected an output of that name, got {', '.join(sorted(outputs)) or 'none'}")
    slots = outputs["score"].shape[1]
    extra = [name for name in outputs if name != "num_sources" and name not in SOURCE_OUTPUTS]
    of_sources = [name for name in extra if outputs[name].ndim > 1 and outputs[name].shape[1] == slots]
    of_scenes = [name for name in extra if name not in of_sources]

    def of(names: Sequence[str], *index: int) -> dict[str, Any]:
        return {name: outputs[name][index].tolist() for name in names}

    return [
        {
            **{"model_version": model_version, "num_sources": int(count), **of(of_scenes, scene)},
            "sources": [of((*SOURCE_OUTPUTS, *of_sources), scene, slot) for slot in range(count)],
        }
        for scene, count in enumerate(outputs["num_sources"])
    ]


def located(outputs: Mapping[str, np.ndarray], model_version: int | None = None) -> list[Scene]:
    """`scenes_of` as objects."""
    return [Scene.from_dict(entry) for entry in scenes_of(outputs, model_version)]


@contextlib.contextmanager
def json_list(path: Path) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Yields a function that appends to a JSON list. The file appears whole at the end, or not at all.

    The function raises ValueError for NaN and infinity, which JSON does not have.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        separator = "[\n"

        def append(entries: Sequence[Any]) -> None:
            nonlocal separator
            for entry in entries:
                file.write(separator + textwrap.indent(json.dumps(entry, indent=1, allow_nan=False), " "))
                separator = ",\n"

        yield append
        file.write("[]\n" if separator == "[\n" else "\n]\n")
