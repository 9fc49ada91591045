"""Files that come with the package have their name in the repository, unless the user has a file of that name."""

from pathlib import Path

import pytest

from models.physics.installation import load_installation
from models.shipped import or_shipped, shipped_path
from pipeline.common.main import parse
from pipeline.export.options import ExportOptions

ROOT = Path(__file__).resolve().parents[2]
LAB = Path("docs/installations/lab.toml")


@pytest.mark.parametrize("name", ["README.md", "docs/tables", str(LAB), "models/weights/backbone.keras"])
def test_a_name_of_the_repository_leads_to_its_file(name: str) -> None:
    assert shipped_path(name) == ROOT / name


def test_outside_a_checkout_commands_find_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = Path("models/weights/backbone.keras")
    given = ["--model-base-path", "runs/lab", "--installation", str(LAB), "--backbone", str(weights)]
    options = parse("export", ExportOptions, given)
    assert (options.installation, options.backbone) == (ROOT / LAB, ROOT / weights)
    assert options.model_base_path == Path("runs/lab")
    assert load_installation(LAB) == load_installation(ROOT / LAB)


def test_a_file_of_ones_own_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LAB.parent.mkdir(parents=True)
    LAB.write_text("[base_station]\nantennas = 4\n")
    assert or_shipped(LAB) == LAB
    assert load_installation(LAB).num_antennas == 4


@pytest.mark.parametrize(
    "name", ["README.md", "docs/nothing.toml", "../docs/installations/lab.toml", "docs/benchmarks"]
)
def test_all_else_stays_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert or_shipped(Path(name)) == Path(name)
