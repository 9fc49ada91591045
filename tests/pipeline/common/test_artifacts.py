"""Output folders of stages: new, resumed, kept when complete, rejected when they hold another run."""

import dataclasses
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.common import artifacts
from pipeline.common.artifacts import Busy, Differs, Fingerprint, fingerprint, folder_lock, making, output_digest, state

LOGGER = logging.getLogger("test")


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    run_dir: Path
    initial: Path | None = None
    scenes: int = 5
    inner: Inner = Inner()


def expected_fingerprint(folder: Path, **changes: object) -> Fingerprint:
    return fingerprint("train", Options(folder, **changes), left_out=("run_dir",))  # type: ignore[arg-type]


def made(folder: Path, **changes: object) -> None:
    with making(folder, expected_fingerprint(folder, **changes), LOGGER) as artifact:
        artifact.begin({"run": 1})
        (folder / "result").write_text("42")
        artifact.facts["metrics"] = {"f1": 0.5}
        artifact.finish("result")


def test_new_begun_done(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert state(folder, expected_fingerprint(folder)) == "new"
    with making(folder, expected_fingerprint(folder), LOGGER) as artifact:
        assert artifact.state == "new"
        assert state(folder, expected_fingerprint(folder)) == "new"
        artifact.begin({})
        assert state(folder, expected_fingerprint(folder)) == "begun"
    with making(folder, expected_fingerprint(folder), LOGGER) as artifact:
        assert artifact.state == "begun"
    made(folder)
    with making(folder, expected_fingerprint(folder), LOGGER) as artifact:
        assert artifact.state == "done"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["facts"] == {"metrics": {"f1": 0.5}}
    assert manifest["outputs"]["result"]["sha256"] == artifacts.content_digest(folder / "result")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scenes": 6}, "--scenes was 5, now 6"),
        ({"inner": Inner(0.2)}, r"--inner\.rate was 0\.1, now 0\.2"),
    ],
)
def test_another_option_is_named_and_nothing_touched(tmp_path: Path, changes: dict, said: str) -> None:
    made(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(Differs, match=said), making(tmp_path, expected_fingerprint(tmp_path, **changes), LOGGER):
        pytest.fail("begun")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_begun_with_other_options_is_not_gone_on_with(tmp_path: Path) -> None:
    with making(tmp_path, expected_fingerprint(tmp_path), LOGGER) as artifact:
        artifact.begin({"run": 1})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        pytest.raises(Differs, match="--scenes was 5, now 6"),
        making(tmp_path, expected_fingerprint(tmp_path, scenes=6), LOGGER),
    ):
        pytest.fail("gone on with")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_inputs_count_by_what_they_hold(tmp_path: Path) -> None:
    """Their paths do not matter."""
    one, other, folder = tmp_path / "one", tmp_path / "other", tmp_path / "run"
    one.write_text("weights")
    made(folder, initial=one)
    one.rename(other)
    assert state(folder, expected_fingerprint(folder, initial=other)) == "done"
    other.write_text("other weights")
    with pytest.raises(Differs, match=r"the content of --initial was [0-9a-f]{12}, now [0-9a-f]{12}"):
        state(folder, expected_fingerprint(folder, initial=other))
    with pytest.raises(Differs, match=r"--initial was [0-9a-f]{12}, now not given"):
        state(folder, expected_fingerprint(folder))
    with pytest.raises(ValueError, match=r"--initial: expected a file or folder at .*nowhere, got nothing"):
        expected_fingerprint(folder, initial=tmp_path / "nowhere")


def test_another_stage_or_code_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    with pytest.raises(Differs, match="the stage was train, now score"):
        state(tmp_path, dataclasses.replace(expected_fingerprint(tmp_path), stage="score"))
    monkeypatch.setattr(artifacts, "code_version", lambda module: {"code": "0" * 64, "keras": "4"})
    with pytest.raises(Differs, match=r"the version of code was [0-9a-f]{12}, now 000000000000"):
        state(tmp_path, expected_fingerprint(tmp_path))


def test_results_that_were_harmed_are_made_again(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "result").write_text("43")
    assert state(tmp_path, expected_fingerprint(tmp_path)) == "begun"
    made(tmp_path)
    (tmp_path / "result").unlink()
    assert state(tmp_path, expected_fingerprint(tmp_path)) == "begun"


def test_a_touched_file_with_the_same_content_is_unharmed(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "result").write_text("42")
    assert state(tmp_path, expected_fingerprint(tmp_path)) == "done"
    (tmp_path / "result").write_text("43")
    assert output_digest(tmp_path / "result") == artifacts.content_digest(tmp_path / "result")


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with (
        pytest.raises(Differs, match=r"holds checkpoints without a manifest\.json"),
        making(tmp_path, expected_fingerprint(tmp_path), LOGGER, leftovers=("checkpoints",)),
    ):
        pytest.fail("begun")
    (tmp_path / "manifest.json").write_text('{"some": "thing"}')
    with pytest.raises(ValueError, match="expected a stage's manifest at"):
        state(tmp_path, expected_fingerprint(tmp_path))


def test_one_process_a_folder_and_no_lock_after_sigkill(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\nfrom pipeline.common.artifacts import folder_lock\n"
        "with folder_lock(pathlib.Path(sys.argv[1])):\n    print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(Busy, match="expected a folder that no other process uses"), folder_lock(tmp_path):
            pytest.fail("let in")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with folder_lock(tmp_path):
            pass
