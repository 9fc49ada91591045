"""Reads figures from Markdown pages: from cells of tables and from sentences."""

import dataclasses
import re

_NUMBER = r"[+\-\u2212]?\d+\.\d+"
_FIGURE = re.compile(rf"({_NUMBER})(?: \[({_NUMBER}), ({_NUMBER})\])?")


@dataclasses.dataclass(frozen=True)
class Quoted:
    """A figure on a page with its 95 % interval, or None. rounding: half a unit of the last printed digit."""

    value: float
    interval: tuple[float, float] | None
    rounding: float


def figures(text: str) -> list[Quoted]:
    """All figures in a text, in order. Numbers without a decimal point do not count as figures."""
    return [_quoted(match) for match in _FIGURE.finditer(text)]


def _quoted(match: re.Match[str]) -> Quoted:
    value, low, high = (None if part is None else float(part.replace("\u2212", "-")) for part in match.groups())
    assert value is not None
    digits = len(match[1].partition(".")[2])
    return Quoted(value, None if low is None or high is None else (low, high), 0.5 * 10.0**-digits)


def table_cells(page: str, header: str) -> dict[tuple[str, str], str]:
    """Cells of the one Markdown table whose header line begins with `header`, by row name and column name."""
    lines = page.splitlines()
    begins = "".join(("| ", header.strip(" |"))) if header.strip() == header else f"|{header}"
    starts = [number for number, line in enumerate(lines) if line.startswith(begins)]
    if len(starts) != 1:
        raise ValueError(f"header: expected one table that begins with {begins!r}, got {len(starts)}")
    _, *columns = _split(lines[starts[0]])
    found: dict[tuple[str, str], str] = {}
    for line in lines[starts[0] + 2 :]:
        if not line.startswith("|"):
            break
        row, *cells = _split(line)
        found |= {(row, column): cell for column, cell in zip(columns, cells, strict=True)}
    return found


def _split(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def figure_after(page: str, text: str) -> Quoted:
    """The figure that follows a text, which occurs once; line breaks in the page do not matter."""
    flat, wanted = " ".join(page.split()), " ".join(text.split()) + " "
    if flat.count(wanted) != 1:
        raise ValueError(f"after: expected the text {text!r} once, got it {flat.count(wanted)} times")
    match = _FIGURE.match(flat, flat.index(wanted) + len(wanted))
    if match is None:
        raise ValueError(f"after: expected a figure after {text!r}, got none")
    return _quoted(match)
