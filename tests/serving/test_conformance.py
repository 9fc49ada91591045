"""The conformance suite: skipped without a server, and passed by the embedded server."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.physics.geometry import Scenario
from pipeline.export.exporting import SIGNATURES
from pipeline.export.options import ExportOptions
from pipeline.export.warmup import write_warmup_requests
from pipeline.release.versions import read_meta_graph
from serving.server_process import server_process
from tests.conftest import MODEL_NAME
from tests.serving.deployment import command_here, compose_service
from tests.serving.ports import held_port
from tests.serving.servers import PATIENCE_S

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "serving" / "conformance"


def run_suite(*options: str) -> subprocess.CompletedProcess[str]:
    """Runs the suite as a user does, without the plugins of this test run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SUITE), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Returns the number of tests by outcome, from pytest's last line."""
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])}


def healthcheck(rest_port: int) -> int:
    """Returns the exit status of the health check in the Compose file."""
    kind, *command = compose_service()["healthcheck"]["test"]
    assert kind == "CMD"
    here = [part.replace("/8501 ", f"/{rest_port} ") for part in command]
    return subprocess.run(here, capture_output=True, timeout=PATIENCE_S).returncode


@pytest.mark.extended
def test_without_a_server_it_is_skipped_and_says_why() -> None:
    done = run_suite("-rs")
    assert done.returncode == 0
    assert counts(done).keys() == {"skipped"}
    assert "needs --target HOST:PORT of a model server" in done.stdout


@pytest.fixture(scope="module")
def warm_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_model` with warm-up records, which the server replays through its batching."""
    (version,) = tiny_model.iterdir()
    folder = tmp_path_factory.mktemp("models") / MODEL_NAME
    shutil.copytree(version, folder / version.name)
    definitions = read_meta_graph(version).signature_def
    signatures = {name: definitions[name] for name in SIGNATURES}
    write_warmup_requests(folder / version.name, signatures, MODEL_NAME, Scenario(), ExportOptions.warmup_batch_sizes)
    return folder


@pytest.mark.extended
def test_our_server_passes_all_of_it_under_the_deployments_configuration(warm_model: Path, tmp_path: Path) -> None:
    flags = command_here(tmp_path / "config", warm_model, rest_port=-1)
    with server_process(*flags) as running:
        targets = ("--target", running.target, "--rest-target", f"localhost:{running.rest_port}")
        done = run_suite(*targets, "--model-name", MODEL_NAME, "--deadline-s", str(PATIENCE_S))
        assert healthcheck(running.rest_port) == 0
    with held_port() as nobody:
        assert healthcheck(nobody.port) != 0
    assert done.returncode == 0, done.stdout[-6000:]
    assert counts(done).keys() == {"passed"}
