"""Content hashes: equal content gives equal hashes, different content different ones."""

from pathlib import Path

import pytest

from models.artifacts import load_weights
from models.covariance_estimator.backbone import Backbone
from models.localizer_weights import LocalizerWeights
from models.physics.geometry import Scenario
from pipeline.common import digests
from pipeline.common.digests import code_digest, content_digest
from tests.conftest import TINY


def test_a_model_saved_twice_is_the_same_model(tmp_path: Path) -> None:
    """The date and the names numbered by Keras do not change the hash; a weight does."""
    LocalizerWeights(Backbone(Scenario(), TINY)).save(tmp_path / "a.keras")
    again = load_weights(tmp_path / "a.keras")
    again.save(tmp_path / "b.keras")
    assert content_digest(tmp_path / "a.keras") == content_digest(tmp_path / "b.keras")
    kernel = again.backbone.grid_variables[0]
    kernel.assign(kernel + 1e-6)
    again.save(tmp_path / "b.keras")
    assert content_digest(tmp_path / "a.keras") != content_digest(tmp_path / "b.keras")


def test_a_torn_model_is_named(tmp_path: Path) -> None:
    LocalizerWeights(Backbone(Scenario(), TINY)).save(tmp_path / "whole.keras")
    torn = tmp_path / "torn.keras"
    torn.write_bytes((tmp_path / "whole.keras").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"expected a \.keras file at .*torn\.keras, got a damaged or different file"):
        content_digest(torn)


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_text("x")
    first = content_digest(tmp_path)
    (tmp_path / "one" / "a").rename(tmp_path / "one" / "b")
    assert content_digest(tmp_path) != first
    (tmp_path / "one" / "b").rename(tmp_path / "one" / "a")
    assert content_digest(tmp_path) == first
    with pytest.raises(ValueError, match="got nothing"):
        content_digest(tmp_path / "two")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of three modules in a package; no other module imports the third."""
    room = tmp_path / "pipeline"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "stage.py").write_text('"""A stage."""\nfrom pipeline import helper\n')
    (room / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    (room / "other.py").write_text("A = 1\n")
    monkeypatch.setattr(digests, "ROOT", tmp_path)
    return room


@pytest.mark.parametrize(
    ("module", "text", "changes"),
    [
        ("stage", '"""Another docstring."""\n\nfrom pipeline import helper  # why\n', False),
        ("helper", 'def twice(x):\n    """Doc."""\n    return 2 * x\n', False),
        ("helper", "def twice(x):\n    return 3 * x\n", True),
        ("stage", "from pipeline import helper\nB = 2\n", True),
        ("other", "A = 2\n", False),
    ],
)
def test_code_counts_where_it_computes_and_is_imported(project: Path, module: str, text: str, changes: bool) -> None:
    before = code_digest("pipeline.stage")
    (project / f"{module}.py").write_text(text)
    digests._parsed.cache_clear()
    assert (code_digest("pipeline.stage") != before) is changes


def test_every_version_of_python_has_the_same_digest_of_code(project: Path) -> None:
    """So one may go on with a run that another began. Versions differ in `ast.dump`, not in what the code is."""
    (project / "stage.py").write_text(
        "class A(dict, metaclass=type):\n    x: int = 1\n\n\n"
        "def f(a, *b, c=2.5, **d):\n    return [f'{a!r:>{c}} b' 'c', *b, d, b'', ..., 1e-3j, None, True]\n"
    )
    assert code_digest("pipeline.stage") == "9bcc50e182def8f14f7d1d04edcf0b6f0d8810eb37e14bce27216a1dc1346a8e"
