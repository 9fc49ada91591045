"""The arrows between rooms, read off the sources: who may import whom, and how full a room may be."""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline.common.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("models", "tfds_shards", "pipeline", "serving")
ROOMS = (*PRODUCT, "tests")
FLOORS = ("checked", "shipped", "batches", "physics", "covariance_estimator", "multipath", "decision", "spectrum")
MOST_MODULES = 16
SHARED = ("common", "scenes", "metrics", "figures", "fitting", "release")
OPEN_TO_STAGES = {
    "pipeline.benchmark.cells",
    "pipeline.benchmark.estimators",
    "pipeline.calibrate.files",
    "pipeline.evaluate.runner",
    "pipeline.run.run_file",
    "pipeline.run.steps",
    "pipeline.train.training",
}
"""Modules of a stage that another stage may import, besides its options."""
SERVER_TALKERS = {
    "pipeline.doctor.checks",
    "pipeline.metrics.estimators",
    "pipeline.locate.fresh_scenes",
    "pipeline.infra_validate.infra_validation",
    "pipeline.validate.validating",
    "pipeline.view.served_model",
    "pipeline.view.stream",
}
FILES_OF_THE_CLIENT = {
    f"serving.client.{name}" for name in ("files", "npz", "measurement", "measurement_file", "calibration")
}
"""They read and write files and talk to nobody."""


def modules(room: str) -> Iterator[tuple[str, Path]]:
    """Modules of a room by dotted name."""
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@functools.cache
def imported(path: Path) -> set[str]:
    """Every module that a file imports anywhere, functions included; `from a import b` is a.b if that is a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            assert node.module is not None
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


def arrows(*rooms: str) -> list[tuple[str, str]]:
    """(module, what it imports of the project), for all modules of the rooms."""
    return [
        (name, target)
        for room in rooms
        for name, path in modules(room)
        for target in sorted(imported(path))
        if target.split(".")[0] in ROOMS
    ]


def within(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_arrows_are_read_at_all() -> None:
    found = arrows("models", "pipeline", "serving", "tfds_shards")
    assert ("models.localizer", "models.spectrum.mvdr") in found
    assert len(found) > 300


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through others."""
    return [sorted(group) for group in strongly_connected(graph) if len(group) > 1]


def strongly_connected(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Strongly connected components: those that reach each other."""

    def reached(start: str) -> set[str]:
        seen, waiting = set[str](), [start]
        while waiting:
            for target in graph.get(waiting.pop(), set()) - seen:
                seen.add(target)
                waiting.append(target)
        return seen

    reach = {name: reached(name) for name in graph}
    groups = {frozenset({name} | {other for other in reach[name] if name in reach.get(other, set())}) for name in graph}
    return [set(group) for group in groups]


def test_cycles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"e"}}
    assert cycles(graph) == [["a", "b", "c"]]


def test_no_files_import_each_other() -> None:
    """Imports inside functions count."""
    graph: dict[str, set[str]] = {}
    for name, target in arrows(*PRODUCT):
        graph.setdefault(name, set()).add(target)
    assert cycles(graph) == []


def test_shared_packages_import_no_stage() -> None:
    for name, target in arrows("pipeline"):
        if within(name, *(f"pipeline.{package}" for package in SHARED)) and within(target, "pipeline"):
            assert target.split(".")[1] in SHARED, f"{name} imports {target}"


def test_stages_leave_the_internals_of_others_alone() -> None:
    """Options may be imported, and what `OPEN_TO_STAGES` names; `run` puts all stages together."""
    for name, target in arrows("pipeline"):
        package, other = name.split(".")[1], [*target.split("."), ""][1]
        if target.split(".")[0] != "pipeline" or other in ("", package, *SHARED) or package == "run":
            continue
        public = target.endswith(".options") or target in OPEN_TO_STAGES
        assert public, f"{name} imports {target}"


def test_every_package_is_a_stage_or_shared() -> None:
    packages = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert packages == {*STAGES, *SHARED}


def test_models_import_nothing_of_the_others() -> None:
    assert [arrow for arrow in arrows("models") if not within(arrow[1], "models")] == []


def test_the_floors_of_models_rest_on_those_below() -> None:
    """No import leads back up: first what all rest on, then the floors, then what joins them."""

    def floor(name: str) -> int:
        below = name.split(".")[1]
        return FLOORS.index(below) if below in FLOORS else len(FLOORS)

    assert [(name, target) for name, target in arrows("models") if floor(target) > floor(name)] == []


def test_shards_import_only_models() -> None:
    assert [arrow for arrow in arrows("tfds_shards") if not within(arrow[1], "tfds_shards", "models")] == []


def test_serving_imports_no_pipeline() -> None:
    """The conformance suite and the bench take scenes of the simulator; what is shipped knows of none."""
    for name, target in arrows("serving"):
        measured = within(name, "serving.conformance", "serving.bench") and within(target, "models", "tfds_shards")
        allowed = within(target, "serving", "models.lean_start") or measured
        assert allowed, f"{name} imports {target}"


def test_the_client_stands_alone() -> None:
    for name, path in modules("serving"):
        if within(name, "serving.client"):
            for target in imported(path):
                inside = within(target, "serving.client") or not within(target, *ROOMS)
                assert inside, f"{name} imports {target}"
                assert not within(target, "keras", "tensorflow_datasets"), f"{name} imports {target}"


def test_the_server_knows_no_client() -> None:
    assert [arrow for arrow in arrows("serving/server") if within(arrow[1], "serving.client")] == []


def test_pipeline_talks_to_a_server_only_where_it_says_so() -> None:
    for name, target in arrows("pipeline"):
        if within(target, "serving.client") and target not in FILES_OF_THE_CLIENT:
            assert name in SERVER_TALKERS, f"{name} imports {target}"
        assert not within(target, "serving.server"), f"{name} imports {target}"


def test_nothing_shipped_imports_tests() -> None:
    shipped = arrows("models", "tfds_shards", "pipeline", "serving")
    assert [arrow for arrow in shipped if within(arrow[1], "tests")] == []


@pytest.mark.parametrize("room", ["models", "pipeline", "serving"])
def test_no_folder_is_crowded(room: str) -> None:
    folders = {path.parent for _, path in modules(room)}
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) - 1 for folder in folders}
    crowded = {folder: size for folder, size in sizes.items() if size > MOST_MODULES}
    assert crowded == {}
