"""Dataclasses that pydantic checks, and files: what is taken, and what is refused in one line that names the place."""

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval, MinLen
from typing_extensions import TypedDict

from models.checked import (
    CHECKS,
    Ascending,
    AtLeast1,
    Depth,
    FileIn,
    Infinite,
    InsideUnit,
    Limits,
    NotNegative,
    Positive,
    checked,
    from_json,
    read_json,
    read_toml,
    stage_options,
)


@checked(frozen=True)
class Inner:
    count: AtLeast1 = 3
    size: Positive = 1.0
    share: InsideUnit = 0.5
    weight: NotNegative = 0.0
    eighths: Annotated[int, Interval(ge=0, le=8)] = 2
    part: Annotated[float, Interval(gt=0, le=1)] = 1.0
    fewer: AtLeast1 | None = None
    pair: tuple[float, float] = (1.0, 2.0)
    edges: Annotated[tuple[float, ...], MinLen(2), Ascending] = (0.0, 1.0)
    limits: Limits = (0.0, 1.0)
    error_db: tuple[Infinite, Infinite] = (0.0, 0.0)
    depth: Depth = 3.0
    word: Literal["one", "other"] = "one"
    yes: bool = False

    def __post_init__(self) -> None:
        if self.count == 7:
            raise ValueError("count: expected other than 7, got 7")


@stage_options(frozen=True)
class Outer:
    run_dir: Path
    most_steps: AtLeast1 = 1
    inner: Inner = Inner()
    file: FileIn | None = None

    def __post_init__(self) -> None:
        if self.most_steps == 7:
            raise ValueError("most_steps: expected other than 7, got 7")
        if self.most_steps == 8:
            raise ValueError("options: expected other than 8")


class File(TypedDict, total=False):
    __pydantic_config__ = CHECKS  # type: ignore[misc]
    name: str
    inner: Inner
    several: tuple[Inner, ...]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"count": 0}, "count: expected 1 or more, got 0"),
    ({"count": True}, "count: expected a whole number, got True"),
    ({"count": 2.0}, "count: expected a whole number, got 2.0"),
    ({"count": "3"}, "count: expected a whole number, got '3'"),
    ({"count": 7}, "count: expected other than 7, got 7"),
    ({"size": 0}, "size: expected a positive number, got 0"),
    ({"size": math.nan}, "size: expected a finite number, got nan"),
    ({"size": math.inf}, "size: expected a finite number, got inf"),
    ({"size": "1"}, "size: expected a number, got '1'"),
    ({"size": True}, "size: expected a number, got True"),
    ({"share": 1.0}, "share: expected a number in (0, 1), got 1.0"),
    ({"share": 0.0}, "share: expected a number in (0, 1), got 0.0"),
    ({"weight": -1}, "weight: expected 0 or more, got -1"),
    ({"eighths": 9}, "eighths: expected 0 to 8, got 9"),
    ({"eighths": -1}, "eighths: expected 0 to 8, got -1"),
    ({"part": 0.0}, "part: expected a number in (0, 1], got 0.0"),
    ({"fewer": 0}, "fewer: expected 1 or more, got 0"),
    ({"pair": (1.0,)}, "pair: expected 2 values, got "),
    ({"pair": (1.0, 2.0, 3.0)}, "pair: expected 2 values, got "),
    ({"pair": 3}, "pair: expected a list, got 3"),
    ({"edges": (1.0,)}, "edges: expected at least 2, got "),
    ({"edges": (0.0, 2.0, 1.0)}, "edges: expected ascending numbers, got [0.0, 2.0, 1.0]"),
    ({"edges": (0.0, 1.0, 1.0)}, "edges: expected ascending numbers, got [0.0, 1.0, 1.0]"),
    ({"limits": (1.0, 0.0)}, "limits: expected [low, high] with low <= high, got [1.0, 0.0]"),
    ({"error_db": (math.nan, 0.0)}, "error_db[0]: expected a number, got nan"),
    ({"depth": math.nan}, "depth: expected a number, got nan"),
    ({"depth": -1.0}, "depth: expected 0 or more, got -1.0"),
    ({"word": "two"}, "word: expected one of one, other, got 'two'"),
    ({"yes": 1}, "yes: expected true or false, got 1"),
    ({"size_m": 1}, "size_m: unknown, expected one of count, size, share, "),
]
TAKEN: list[dict[str, Any]] = [
    {"size": 1, "pair": (0, 1)},
    {"eighths": 0},
    {"eighths": 8, "part": 1.0},
    {"limits": (1.0, 1.0)},
    {"error_db": (-math.inf, -math.inf), "depth": math.inf},
]


@pytest.mark.parametrize(("values", "said"), REFUSED)
def test_what_is_refused_is_one_line_wherever_it_is_said(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    """In a constructor, in `replace`, and in tables at the top or within others."""
    for make in (Inner, lambda **given: dataclasses.replace(Inner(), **given)):
        with pytest.raises(ValueError) as refused:
            make(**values)
        assert str(refused.value).startswith(f"Inner.{said}")
    for tables, place in (({"inner": values}, "inner"), ({"several": [{}, values]}, "several[1]")):
        with pytest.raises(ValueError) as refused:
            from_json(tables, File, "f: ")
        assert str(refused.value).startswith(f"f: {place}.{said}")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("values", TAKEN)
def test_what_is_taken(values: dict[str, Any]) -> None:
    """From a constructor and from a file alike; whole numbers are floats where floats are asked for."""
    made = Inner(**values)
    assert from_json({"inner": values}, File, "") == {"inner": made}
    assert all(isinstance(getattr(made, name), float) for name in ("size", "share", "weight", "part"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Outer(Path("x"), most_steps=0), "--most-steps: expected 1 or more, got 0"),
        (lambda: Outer(Path("x"), 0), "--most-steps: expected 1 or more, got 0"),
        (lambda: Outer(Path("x"), most_steps=7), "--most-steps: expected other than 7, got 7"),
        (lambda: Outer(Path("x"), most_steps=8), "options: expected other than 8"),
        (lambda: Outer(), "--run-dir: expected a value, got none"),
        (lambda: Outer("x"), "--run-dir: expected Path, got 'x'"),
        (lambda: Outer(Path("x"), inner=3), "--inner: expected Inner, got 3"),
    ],
)
def test_options_are_named_as_flags(make: Any, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value) == said


def test_they_are_dataclasses_still() -> None:
    one = Inner(count=4)
    assert one == Inner(count=4) != Inner() and hash(one) == hash(Inner(count=4))
    assert dataclasses.replace(one, count=3) == Inner() == Inner(**dataclasses.asdict(Inner()))
    assert pickle.loads(pickle.dumps(one)) == one
    assert [field.name for field in dataclasses.fields(Outer)] == ["run_dir", "most_steps", "inner", "file"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.count = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam = 3", "nam: unknown, expected one of name, inner, several"),
        ("name = 3", "name: expected a word in quotes, got 3"),
        ("name = 1979-05-27", "name: expected a word in quotes, got {'date or time': '1979-05-27'}"),
        ("inner = 3", "inner: expected a table [inner], got 3"),
        ("[inner", "expected a TOML file, got: "),
    ],
)
def test_tables_that_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as refused:
        read_toml(path, File)
    assert str(refused.value).startswith(f"{path}: {said}") and "\n" not in str(refused.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    torn = tmp_path / "torn.json"
    torn.write_text("[1,")
    for read, path, said in (
        (read_toml, tmp_path / "a.toml", "expected a TOML file, got: No such file or directory"),
        (read_json, tmp_path / "a.json", "expected a JSON file, got: No such file or directory"),
        (read_json, torn, "expected JSON, got: "),
        (read_toml, tmp_path, "expected a TOML file, got: Is a directory"),
    ):
        with pytest.raises(ValueError) as refused:
            read(path, dict[str, Any])
        assert str(refused.value).startswith(f"{path}: {said}") and "\n" not in str(refused.value)


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text('run_dir = "a"\nfile = "b"')
    assert read_toml(path, Outer) == Outer(Path("a"), file=tmp_path / "b")
