"""The benchmark of `serving.bench`: it runs, and prints what it promises."""

import re
from pathlib import Path

import pytest

from serving.bench import ServingBenchOptions, bench

NUMBER = r"(\d+\.\d+)"
PROMISED = (
    rf"one scene: {NUMBER} ms in process, {NUMBER} ms served, ratio {NUMBER}",
    rf"2 clients: {NUMBER} scenes/s in process at best, {NUMBER} served in batches, ratio {NUMBER}",
    rf"without warm-up: {NUMBER} s from start to first answer, of which {NUMBER} s for the answer",
    rf"with warm-up: {NUMBER} s from start to first answer, of which {NUMBER} s for the answer",
)


def test_both_sides_are_timed(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers; the two of the first answers are left to `make bench`."""
    monkeypatch.setattr("serving.bench.first_answer", lambda *arguments: {"start": 5.0, "answer": 0.25})
    bench(ServingBenchOptions(tiny_model, repeats=1, clients=2, rounds=1))
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(promised, line) for promised, line in zip(PROMISED, lines, strict=True)]
    assert all(found), lines
    for match in found:
        assert match is not None
        assert all(float(number) > 0 for number in match.groups())


def test_options_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--model-base-path: expected a folder of versions"):
        ServingBenchOptions(tmp_path).latest()
    with pytest.raises(ValueError, match="--clients: expected 1 or more, got 0"):
        ServingBenchOptions(tmp_path, clients=0)
    with pytest.raises(ValueError, match="--config: expected one of"):
        ServingBenchOptions(tmp_path, config="none")
