"""The benchmark `serving.bench` runs and prints its figures."""

import dataclasses
import json
import re
from concurrent import futures
from pathlib import Path

import pytest

from serving.bench import ServingBenchOptions, add_to_record, bench

NUMBER = r"(\d+\.\d+)"
PROMISED = (
    rf"one scene: {NUMBER} ms in process, {NUMBER} ms served, ratio {NUMBER}",
    rf"2 clients: {NUMBER} scenes/s in process at best, {NUMBER} served in batches, ratio {NUMBER}",
    rf"without warm-up: {NUMBER} s from start to first answer, of which {NUMBER} s for the answer",
    rf"with warm-up: {NUMBER} s from start to first answer, of which {NUMBER} s for the answer",
    r"a process with the model alone: (\d+) MiB at most, in batches of 2",
)


@pytest.mark.extended
def test_both_sides_are_timed_and_recorded(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers only: `make bench` covers the first answers, and the memory in a separate process."""
    monkeypatch.setattr("serving.bench.first_answer", lambda *arguments: {"start": 5.0, "answer": 0.25})
    monkeypatch.setattr("serving.bench.futures.ProcessPoolExecutor", lambda *_: futures.ThreadPoolExecutor(1))
    record = tmp_path / "record.json"
    record.write_text('{"cores": 2}')
    options = ServingBenchOptions(tiny_model, repeats=1, clients=2, rounds=1, memory_scenes=2, record=record)
    figures = bench(options)
    lines = figures.lines()
    found = [re.fullmatch(promised, line) for promised, line in zip(PROMISED, lines, strict=True)]
    assert all(found), lines
    for match in found:
        assert match is not None
        assert all(float(number) > 0 for number in match.groups())
    add_to_record(record, figures)
    assert json.loads(record.read_text()) == {"cores": 2, "served": dataclasses.asdict(figures)}


def test_options_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--model-base-path: expected a folder of versions"):
        ServingBenchOptions(tmp_path).latest()
    with pytest.raises(ValueError, match="--clients: expected 1 or more, got 0"):
        ServingBenchOptions(tmp_path, clients=0)
    with pytest.raises(ValueError, match="--record: expected a record of"):
        ServingBenchOptions(tmp_path, record=tmp_path / "none.json")
    with pytest.raises(ValueError, match="--config: expected one of"):
        ServingBenchOptions(tmp_path, config="none")
