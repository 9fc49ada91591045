"""Parts of a page: sections of plots, tables and listings, each with a title and a caption."""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Plot:
    """A Plotly figure, as an element of the page with the id `name`.

    alt: text alternative with numbers. drawing: a `plotly.graph_objects.Figure`. still: PNG image for printing and for
    browsers without WebGL.
    """

    name: str
    title: str
    caption: str
    alt: str
    drawing: Any
    still: bytes | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no trace has a value."""
        return not any(value is not None for trace in self.drawing.data for value in trace.y or ())


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text; the first cell of a row is its heading."""

    name: str
    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Listing:
    """Lines of text to copy, such as commands."""

    name: str
    title: str
    caption: str
    lines: Sequence[str]


Part = Plot | Table | Listing


@dataclasses.dataclass(frozen=True)
class Section:
    """Parts under a heading. Empty plots are removed."""

    name: str
    title: str
    parts: Sequence[Part]

    def __post_init__(self) -> None:
        kept = [part for part in self.parts if not (isinstance(part, Plot) and part.is_empty)]
        object.__setattr__(self, "parts", kept)
