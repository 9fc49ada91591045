"""What the localizer found as plain data, and the JSON file it goes to."""

import contextlib
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from serving.client.files import replacing


class Source(TypedDict):
    """A source (docs/conventions.md, Output), and whatever else the model says of each source."""

    azimuth_deg: float
    elevation_deg: float
    range_m: float
    position_m: list[float]
    power_db: float
    score: float
    position_cov_m2: list[list[float]]


class Scene(TypedDict):
    """The sources of a scene by falling score, and whatever else the model says of the scene, such as `refined`."""

    model_version: int
    """The version that answered."""
    num_sources: int
    sources: list[Source]


def scenes_of(outputs: Mapping[str, np.ndarray], model_version: int) -> list[Scene]:
    """The outputs as plain data, one entry a scene.

    Args:
      outputs: num_sources int [B], the fields of `Source` [B, K_max, ...] and any others: those of shape
        [B, K_max, ...] are told of each source, the rest of the scene.
      model_version: that gave them.

    Raises:
      ValueError: an output is absent.
    """
    for name in ("num_sources", *Source.__annotations__):
        if name not in outputs:
            raise ValueError(f"{name}: expected an output of that name, got {', '.join(sorted(outputs)) or 'none'}")
    slots = outputs["score"].shape[1]
    extra = [name for name in outputs if name != "num_sources" and name not in Source.__annotations__]
    of_sources = [name for name in extra if outputs[name].ndim > 1 and outputs[name].shape[1] == slots]
    of_scenes = [name for name in extra if name not in of_sources]

    def source(scene: int, slot: int) -> Any:
        return {name: outputs[name][scene, slot].tolist() for name in (*Source.__annotations__, *of_sources)}

    def entry(scene: int, count: int) -> Any:
        return {
            "model_version": model_version,
            "num_sources": count,
            **{name: outputs[name][scene].tolist() for name in of_scenes},
            "sources": [source(scene, slot) for slot in range(count)],
        }

    return [entry(scene, int(count)) for scene, count in enumerate(outputs["num_sources"])]


@contextlib.contextmanager
def json_list(path: Path) -> Iterator[Callable[[Sequence[Any]], None]]:
    """A JSON list, appended to by the function this gives; the file is there whole at the end, or not at all.

    Raises:
      OSError: it cannot be written; before anything is appended, if the folder is the reason.
      ValueError: an entry holds NaN or infinity, which JSON does not have.
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
