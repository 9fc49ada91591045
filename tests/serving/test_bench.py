"""The benchmark of `serving.bench`, with few repeats."""

from pathlib import Path

import pytest

from serving.bench import InProcess, ServingBenchOptions, bench_inputs, bench_requests, single_scene, throughput
from serving.server_process import server_process
from tests.conftest import MODEL_NAME


def test_both_sides_are_timed(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "batching").write_text("max_batch_size { value: 2 } batch_timeout_micros { value: 20000 }")
    inputs = bench_inputs("l64_m64", 2)
    local, requests = InProcess(ServingBenchOptions(tiny_model).latest(), inputs), bench_requests(inputs)
    batching = ("--enable_batching", f"--batching_parameters_file={tmp_path / 'batching'}")
    with server_process(f"--model_name={MODEL_NAME}", f"--model_base_path={tiny_model}", *batching) as running:
        one = single_scene(local, requests[0], running.target, repeats=1)
        many = throughput(local, requests, running.target, rounds=1, turns=1)
    assert set(one) == {"in process", "server"}
    assert set(many) == {"in process", "server", "ratio"}
    assert all(0 < value < 1e5 for value in (one | many).values())


def test_options_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--model-base-path: expected a folder of versions"):
        ServingBenchOptions(tmp_path).latest()
    with pytest.raises(ValueError, match="--clients: expected 1 or more, got 0"):
        ServingBenchOptions(tmp_path, clients=0)
    with pytest.raises(ValueError, match="--config: expected one of"):
        ServingBenchOptions(tmp_path, config="none")
