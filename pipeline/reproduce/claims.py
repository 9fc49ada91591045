"""Claims of the pages: the printed figures, and how to measure each, from docs/tables/NAME.toml."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Required

import pydantic
from typing_extensions import TypedDict

from models.checked import Ascending, AtLeast1, checked, from_json, read_toml
from models.shipped import shipped_path
from pipeline.reproduce.names import FOLDER
from pipeline.reproduce.pages import Quoted, figure_after, figures, table_cells
from tfds_shards.simulator import CONFIGS

FigureName = Literal["f1", "precision", "recall", "rmse_xyz_m", "median_error_m"]


class _File(TypedDict, total=False):
    __pydantic_config__ = pydantic.ConfigDict(strict=True, extra="allow")  # type: ignore[misc]  # other keys are defaults of the recipes
    page: Required[str]
    header: str
    rows: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, Any]]
    sentences: list[dict[str, Any]]


@checked(frozen=True)
class _Recipe:
    estimator: str
    config: str
    scenes: AtLeast1
    figures: tuple[FigureName, ...] = ("f1",)
    minus: str | None = None
    snr_db: Annotated[tuple[float, float], Ascending] | None = None

    def __post_init__(self) -> None:
        if self.config not in CONFIGS:
            raise ValueError(f"config: expected one of {', '.join(CONFIGS)}, got {self.config!r}")


@dataclasses.dataclass(frozen=True)
class Claim:
    """One figure of a page.

    table: name of its file. where: row and column, or the text before it. estimator: "ours", "untrained", or options of
    `ris-mvdr evaluate`. scenes: number of test scenes, the first ones. figure: name of the metric. minus: estimator
    whose figure on the same scenes is subtracted. snr_db: SNR of the scenes used, from low to below high, in dB.
    """

    table: str
    where: str
    quoted: Quoted
    estimator: str
    config: str
    scenes: int
    figure: FigureName = "f1"
    minus: str | None = None
    snr_db: tuple[float, float] | None = None


def read_claims(name: str, folder: Path = FOLDER, root: Path | None = None) -> list[Claim]:
    """Reads all claims of a table, the file docs/tables/NAME.toml, and its page, whose path is relative to `root`.

    A ValueError, if file and page do not match, is one line with the file and the field.
    """
    path = folder / f"{name}.toml"
    tables = read_toml(path, _File)
    page = shipped_path(tables["page"]) if root is None else root / tables["page"]
    try:
        return list(_claims(name, tables, page.read_text(encoding="utf-8")))
    except KeyError as error:
        raise ValueError(f"{path}: expected a value for {error}, got none") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _claims(name: str, tables: Mapping[str, Any], page: str) -> Iterator[Claim]:
    common = {key: value for key, value in tables.items() if key not in _File.__annotations__}
    if "header" in tables:
        cells = table_cells(page, tables["header"])
        for kind, part in (("rows", 0), ("columns", 1)):
            printed, known = {key[part] for key in cells}, set(tables[kind])
            if printed != known:
                raise ValueError(f"{kind}: expected those of the page, got others: {sorted(printed ^ known)[0]!r}")
        for (row, column), text in cells.items():
            recipe = {**common, **tables["rows"][row], **tables["columns"][column]}
            yield from _of_cell(name, f"{row}, {column}", figures(text), recipe)
    for sentence in tables.get("sentences", ()):
        after = sentence["after"]
        recipe = {**common, **{key: value for key, value in sentence.items() if key != "after"}}
        yield from _of_cell(name, f"... {after}", [figure_after(page, after)], recipe)


def _of_cell(name: str, where: str, printed: list[Quoted], recipe: Mapping[str, Any]) -> Iterator[Claim]:
    told: _Recipe = from_json(recipe, _Recipe, f"{where}: ")
    if told.figures and len(told.figures) != len(printed):
        raise ValueError(f"{where}: expected {len(told.figures)} figures on the page, got {len(printed)}")
    for figure, quoted in zip(told.figures, printed, strict=False):
        yield Claim(name, where, quoted, told.estimator, told.config, told.scenes, figure, told.minus, told.snr_db)
