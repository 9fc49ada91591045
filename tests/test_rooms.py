"""The arrows between rooms, read off the sources: who may import whom, and how full a room may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("models", "tfds_shards", "pipeline", "serving", "tests")
FLOORS = ("shipped", "physics", "covariance_estimator", "reflections", "decision", "spectrum")
MOST_MODULES = 16
SERVER_TALKERS = {
    "pipeline.common.checkup",
    "pipeline.evaluation.estimators",
    "pipeline.evaluation.fresh_scenes",
    "pipeline.release.infra_validation",
    "pipeline.scenes.validating",
    "pipeline.viewing.asking",
    "pipeline.viewing.stream",
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


def test_models_import_nothing_of_the_others() -> None:
    assert [arrow for arrow in arrows("models") if not within(arrow[1], "models")] == []


def test_the_floors_of_models_rest_on_those_below() -> None:
    """From shipped and physics up to spectrum, then what joins them: no arrow back up."""

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
