"""What a page is made of: sections of plots, tables and listings, each with one sentence that says what it shows."""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure of Plotly's.

    name: its id on the page. title. says: what it shows. alt: the same for who cannot see it, with numbers.
    drawing: a `plotly.graph_objects.Figure`. still: PNG that stands for it on paper and where there is no WebGL.
    """

    name: str
    title: str
    says: str
    alt: str
    drawing: Any
    still: bytes | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it has a value."""
        return not any(value is not None for trace in self.drawing.data for value in trace.y or ())


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each is its heading."""

    name: str
    title: str
    says: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Listing:
    """Lines to be copied."""

    name: str
    title: str
    says: str
    lines: Sequence[str]


Part = Plot | Table | Listing


@dataclasses.dataclass(frozen=True)
class Section:
    """Parts under a heading; plots without a value are left out."""

    name: str
    title: str
    parts: Sequence[Part]

    def __post_init__(self) -> None:
        there = [part for part in self.parts if not (isinstance(part, Plot) and part.is_empty)]
        object.__setattr__(self, "parts", there)
