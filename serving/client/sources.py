"""What the localizer found as plain data, and the JSON file it goes to."""

import contextlib
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.files import replacing

_SOURCE_FIELDS = ("azimuth_deg", "elevation_deg", "range_m", "position_m", "power_db", "score", "position_cov_m2")
_LATER_FIELDS = ("num_paths",)
"""Fields that models exported before them lack."""


def sources_of(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The outputs as plain data, one entry a scene: num_sources and a list of sources; of a model with a refiner, also
    whether its heat map took part."""
    fields = _SOURCE_FIELDS + tuple(name for name in _LATER_FIELDS if name in outputs)
    return [
        {
            "num_sources": int(count),
            **({"refined": bool(outputs["refined"][scene])} if "refined" in outputs else {}),
            "sources": [
                {name: outputs[name][scene, slot].tolist() for name in fields} for slot in range(int(count))
            ],
        }
        for scene, count in enumerate(outputs["num_sources"])
    ]


@contextlib.contextmanager
def json_list(path: Path) -> Iterator[Callable[[list[Any]], None]]:
    """A JSON list, appended to by the function this gives; the file is there whole at the end, or not at all.

    Raises:
      OSError: it cannot be written; before anything is appended, if the folder is the reason.
      ValueError: an entry holds NaN or infinity, which JSON does not have.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        separator = "[\n"

        def append(entries: list[Any]) -> None:
            nonlocal separator
            for entry in entries:
                file.write(separator + textwrap.indent(json.dumps(entry, indent=1, allow_nan=False), " "))
                separator = ",\n"

        yield append
        file.write("[]\n" if separator == "[\n" else "\n]\n")
