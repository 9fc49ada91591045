"""A server's console shows the server's own lines and real errors, and none of TensorFlow's start-up messages."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.server_process import server_process
from tests.serving.servers import PATIENCE_S

OWN_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) \S.*")
NOISE = (
    b"I0000 00:00:1.2 3 port.cc:153] oneDNN custom operations are on.\n",
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    b"E0000 00:00:1.2 3 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (303)\n",
)  # fmt: skip
REAL = (
    b"E0000 00:00:1.2 3 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA_ERROR_NO_DEVICE (100)\n",
    b"W0000 00:00:1.2 3 a.cc:1] Allocation exceeds 10% of free system memory.\n",
    b"F0000 00:00:1.2 3 cpu_feature_guard.cc:1] compiled to use AVX, which is not available. Aborting.\n",
)


@pytest.mark.extended
def test_a_server_prints_its_own_lines_only(half_plus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    models = tmp_path / "models"
    models.mkdir()
    (models / "1").symlink_to(half_plus / "1")
    shutil.copytree(half_plus / "2", tmp_path / "2")
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"broken")
    (tmp_path / "2").rename(models / "2")
    policy = "model_version_policy { all {} }"
    config = tmp_path / "config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{models}" model_platform: "tensorflow" {policy} }} }}'
    )
    flags = (f"--model_config_file={config}", "--rest_api_port=-1", "--max_num_load_retries=0")
    with server_process(*flags) as server:
        assert server.terminate() == 0
        log = server.log.read_text()
    assert [line for line in server.lines if not line.startswith("serving m version 1 on port ")] == []
    assert [line for line in log.splitlines() if not OWN_LINE.fullmatch(line)] == []
    for own in ("INFO loading m version 1 from ", "INFO serving m version 1", "ERROR m version 2: attempt 1: "):
        assert log.count(own) == 1, log


def run(program: str, level: str | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    code = f"import os, sys\nfrom serving.quiet import quiet_tensorflow\nwith quiet_tensorflow():\n    {program}\n"
    code += f"os.write(2, {NOISE[0]!r})\n"  # after the block nothing is filtered
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, env=environment)


@pytest.mark.extended
def test_real_errors_pass_in_their_order() -> None:
    mixed = b"".join(message for pair in zip(NOISE, REAL, strict=True) for message in pair)
    done = run(f"os.write(2, {mixed!r}); print('own', file=sys.stderr)")
    assert done.stderr == b"".join(REAL) + b"own\n" + NOISE[0]
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.extended
def test_the_last_words_of_a_crash_and_of_an_import_error_pass() -> None:
    done = run(f"os.write(2, {REAL[2]!r}); os.abort()")
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, REAL[2])
    done = run("import no_such_module")
    assert done.returncode == 1
    assert done.stderr.endswith(b"ModuleNotFoundError: No module named 'no_such_module'\n")


@pytest.mark.extended
def test_level_0_shows_everything() -> None:
    everything = b"".join(NOISE)
    assert run(f"os.write(2, {everything!r})", level="0").stderr == everything + NOISE[0]
