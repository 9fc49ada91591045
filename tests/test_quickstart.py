"""The notebook of the docs: it runs from top to bottom, and is stored with what it shows."""

import base64
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
PATIENCE_S = 600
LARGEST_PICTURE = 60_000


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: nbformat.NotebookNode) -> list[str]:
    """Kinds of what a cell shows; what libraries write to stderr does not count."""
    kinds: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kinds += [output.name] if output.name != "stderr" else []
        else:
            kinds += sorted(output.get("data", {}))
    return kinds


@pytest.fixture(scope="module")
def stored() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.extended
def test_it_runs_and_shows_what_it_is_stored_with(stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of a cell are errors here. Digits may differ from machine to machine, what is shown may not."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    fresh = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(fresh):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(fresh, timeout=PATIENCE_S, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    for before, after in zip(code_cells(stored), code_cells(fresh), strict=True):
        assert shown(after) == shown(before), before.source
    assert not [path for path in NOTEBOOK.parent.iterdir() if path.suffix in (".npz", ".png")]


def test_it_is_stored_as_executed_with_small_pictures(stored) -> None:
    cells = code_cells(stored)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output.get("name") != "stderr" for cell in cells for output in cell.outputs)
    pictures = [
        base64.b64decode(output.data["image/png"])
        for cell in cells
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
    assert all(5_000 < len(picture) < LARGEST_PICTURE for picture in pictures)


@pytest.mark.promise("notebook")
def test_it_shows_what_was_promised(stored) -> None:
    """Simulated, located, drawn, compared with the truth, for an installation of one's own."""
    source = "\n".join(cell.source for cell in code_cells(stored))
    for part in ("simulate(", "load_localizer(", ".locate(", ".plot(truth=", "installation", ".truth", ".save("):
        assert part in source
