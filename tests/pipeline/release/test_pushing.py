"""Pushes and roll-backs: atomic, with rising version numbers, one at a time."""

import itertools
import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline.common.artifacts import Busy, folder_lock
from pipeline.push.options import PushOptions
from pipeline.release import versions as pushing
from pipeline.release.versions import (
    check_verdicts,
    model_digest,
    push,
    read_labels,
    read_release,
    roll_back,
    served_version,
    set_label,
    versions_in,
)

FILES = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A folder with the files of a SavedModel."""
    for name in FILES:
        path = tmp_path / "staged" / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "staged" / "1"


@pytest.fixture
def base_path(tmp_path: Path, staged: Path) -> Path:
    """Three versions of a model."""
    for _ in range(3):
        push(staged, tmp_path / "model", {})
    return tmp_path / "model"


def numbers(base_path: Path) -> list[int]:
    """Version numbers that a server sees."""
    return sorted(int(path.name) for path in base_path.iterdir() if path.name.isdecimal())


def test_versions_rise_even_if_the_clock_went_back(staged: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pushing.time, "time", lambda: 1_000_000.7)
    first = push(staged, tmp_path / "model", {"note": "first"})
    monkeypatch.setattr(pushing.time, "time", lambda: 999.0)
    second, third = (push(staged, tmp_path / "model", {}) for _ in range(2))
    assert [version.number for version in (first, second, third)] == [1_000_000, 1_000_001, 1_000_002]
    assert read_release(first.path) == {"version": 1_000_000, "note": "first"}
    assert model_digest(first.path) == model_digest(staged)


def test_a_withdrawn_version_is_still_counted(base_path: Path, staged: Path) -> None:
    last = numbers(base_path)[-1]
    roll_back(base_path, "previous")
    assert push(staged, base_path, {}).number > last


def test_a_full_disk_leaves_nothing(staged: Path, tmp_path: Path, monkeypatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "saved_model.pb").write_text("ha")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pushing.shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        push(staged, tmp_path / "model", {})
    assert versions_in(tmp_path / "model") == []
    assert not list((tmp_path / "model").glob("staging*"))


def test_leftovers_of_a_killed_push_are_swept(base_path: Path, staged: Path) -> None:
    (base_path / "staging-17-4").mkdir()
    push(staged, base_path, {})
    assert not list(base_path.glob("staging*"))


def test_one_push_at_a_time(base_path: Path, staged: Path) -> None:
    before = numbers(base_path)
    with folder_lock(base_path), pytest.raises(Busy, match="which is in use"):
        push(staged, base_path, {})
    assert numbers(base_path) == before


def test_who_polls_sees_whole_versions_only(staged: Path, tmp_path: Path) -> None:
    """A watcher lists the folder as fast as it can while versions are pushed and withdrawn."""
    base_path, seen, stop = tmp_path / "model", list[set[str]](), threading.Event()
    base_path.mkdir()

    def watch() -> None:
        while not stop.is_set():
            for path in base_path.iterdir():
                if path.name.isdecimal():
                    try:
                        seen.append({name for name in FILES if (path / name).is_file()} if path.is_dir() else set())
                    except OSError:
                        continue
                    if not path.exists():  # withdrawn in between
                        seen.pop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(10):
        push(staged, base_path, {})
    roll_back(base_path, "previous")
    stop.set()
    watcher.join()
    assert seen
    assert all(found == set(FILES) for found in seen)


def test_roll_back_by_number_label_and_previous(base_path: Path) -> None:
    first, second, third = numbers(base_path)
    set_label(base_path, "champion", first)
    assert roll_back(base_path, "previous").number == second == numbers(base_path)[-1]
    assert roll_back(base_path, "champion").number == first
    assert numbers(base_path) == [first]
    assert roll_back(base_path, str(third)).number == third  # and forward again
    assert numbers(base_path) == [first, third]
    assert served_version(base_path).number == third  # type: ignore[union-attr]
    assert [version.number for version in versions_in(base_path)] == [first, second, third]


def test_no_version_in_between_is_ever_the_highest(base_path: Path, monkeypatch) -> None:
    first, _, third = numbers(base_path)
    highest = []
    rename = os.rename

    def watched(old: Path, new: Path) -> None:
        rename(old, new)
        highest.append(numbers(base_path)[-1])

    monkeypatch.setattr(pushing.os, "rename", watched)
    roll_back(base_path, str(first))
    assert highest == [third, first]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("7", r"expected a version or label of .* \(\d+, \d+, \d+\), got '7'"),
        ("gold", r"expected a version or label of .*, got 'gold'"),
    ],
)
def test_what_is_not_there_cannot_be_rolled_back_to(base_path: Path, wanted: str, said: str) -> None:
    before = numbers(base_path)
    with pytest.raises(ValueError, match=said):
        roll_back(base_path, wanted)
    with pytest.raises(ValueError, match="expected another version than the one that is served"):
        roll_back(base_path, str(before[-1]))
    assert numbers(base_path) == before


def test_a_label_moves(base_path: Path) -> None:
    first, second, _ = numbers(base_path)
    set_label(base_path, "champion", first)
    set_label(base_path, "champion", second)
    assert read_labels(base_path) == {"champion": second}
    for label in ("17", "previous", ""):
        with pytest.raises(ValueError, match="--label: expected a name"):
            set_label(base_path, label, first)


GOOD = {"verdict": "BLESSED", "model": "a" * 64, "reasons": []}
VALID = {"verdict": "VALID", "model": "a" * 64, "reasons": []}


def test_only_what_is_blessed_and_validated_is_pushed() -> None:
    check_verdicts("a" * 64, GOOD, VALID)
    for blessing, infra, said in (
        (
            {**GOOD, "verdict": "NOT_BLESSED", "reasons": ["f1, overall"]},
            VALID,
            "expected BLESSED, got NOT_BLESSED: f1",
        ),
        (GOOD, {**VALID, "verdict": "INVALID"}, "--infra-validation: expected VALID, got INVALID: no reason"),
        ({**GOOD, "model": "b" * 64}, VALID, "--blessing: expected one about the model a{12}, got one about b{12}"),
        ({}, VALID, "--blessing: expected BLESSED, got None"),
    ):
        with pytest.raises(ValueError, match=said):
            check_verdicts("a" * 64, blessing, infra)


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--blessing: expected a path, got none"):
        PushOptions(tmp_path, saved_model=tmp_path)
    with pytest.raises(ValueError, match="--rollback: expected no --saved-model, got one"):
        PushOptions(tmp_path, saved_model=tmp_path, rollback="previous")


def push_and_be_killed(staged: Path, base_path: Path, moment: int) -> bool:
    """Runs a push in a process and kills it at the given call that changes a file; returns whether it was killed."""
    child = os.fork()
    if child == 0:
        left = moment

        def watched(function):
            def call(*given, **named):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*given, **named)

            return call

        for module, name in (
            (os, "open"),
            (os, "mkdir"),
            (os, "rename"),
            (os, "fsync"),
            (os, "replace"),
            (os, "chmod"),
        ):
            setattr(module, name, watched(getattr(module, name)))
        push(staged, base_path, {})
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.extended
def test_a_push_killed_at_any_moment_leaves_whole_versions(staged: Path, tmp_path: Path) -> None:
    base_path, pushed = tmp_path / "model", 0
    for moment in itertools.count(1):
        killed = push_and_be_killed(staged, base_path, moment)
        there = versions_in(base_path)
        assert all((version.path / name).is_file() for version in there for name in FILES)
        assert len(there) >= pushed
        pushed = len(there)
        if not killed:
            break
    assert moment > 10
    assert pushed >= 1
    assert not list(base_path.glob("staging*"))
