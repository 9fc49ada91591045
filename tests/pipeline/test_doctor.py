"""The doctor: one line per check, and an exit status that says whether all checks passed."""

import sys
from pathlib import Path

import pytest

from pipeline.common.main import FAIL
from pipeline.doctor import __main__ as doctor
from pipeline.doctor import checks as checkup
from pipeline.doctor.checks import checks
from pipeline.doctor.options import DoctorOptions


@pytest.mark.stage("doctor")
def test_all_is_well_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["doctor", "--runs", str(tmp_path), "--free-gb", "0"])
    doctor.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line[:4] for line in lines] == ["ok  "] * 4 + ["4 of"]


def test_every_check_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "torn.keras").write_bytes(b"PK")
    monkeypatch.setattr(checkup.importlib.metadata, "requires", lambda name: ["numpy>=99", "nothing-of-this-name"])
    monkeypatch.setattr(checkup.platform, "python_version", lambda: "2.7.18")
    given = ["--runs", tmp_path, "--free-gb", 1e9, "--weights", tmp_path / "torn.keras", "--target", "localhost:1"]
    monkeypatch.setattr(sys, "argv", ["doctor", *map(str, given)])
    with pytest.raises(SystemExit) as stopped:
        doctor.main()
    assert stopped.value.code == FAIL
    said = dict(line[6:].split(": ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL"))
    assert list(said) == ["python", "packages", "disk", "weights", "server"]
    assert said["python"] == "expected <3.14,>=3.11, got 2.7.18"
    assert said["packages"].startswith("numpy: expected >=99, got ")
    assert "nothing-of-this-name: expected , got none" in said["packages"]
    assert said["disk"].startswith("expected 1e+09 GB free in ")


def test_no_check_raises(tmp_path: Path) -> None:
    assert not next(check for check in checks(DoctorOptions(tmp_path / "nowhere")) if check.name == "disk").holds
