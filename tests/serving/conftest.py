"""The small model of `tests.serving.models`, written once per test run, and a shared server of it."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.in_process import InProcessServer, in_process_server
from tests.serving.models import M, write_version
from tests.serving.servers import PATIENCE_S, stubs


@pytest.fixture(scope="session")
def half_plus(made_once) -> Path:
    """A read-only folder with versions 1 and 2."""

    def fill(directory: Path) -> None:
        for version in (1, 2):
            write_version(directory, version)

    return made_once("half-plus", fill)


@pytest.fixture(scope="session")
def shared_server(half_plus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessServer]:
    """Serves both versions over gRPC and REST, with metrics."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    (folder / "models").write_text(
        f'model_config_list {{ config {{ name: "{M}" base_path: "{half_plus}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    flags = (f"--model_config_file={folder}/models", f"--monitoring_config_file={folder}/monitoring")
    with in_process_server("--rest_api_port=-1", *flags) as running:
        yield running


@pytest.fixture(scope="session")
def prediction(shared_server: InProcessServer):
    with stubs(shared_server.target) as (prediction, _):
        yield prediction


@pytest.fixture(scope="session")
def status(shared_server: InProcessServer):
    with stubs(shared_server.target) as (_, service):
        yield lambda request, timeout: service.GetModelStatus(request, timeout=timeout)


@pytest.fixture
def connection(shared_server: InProcessServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("localhost", shared_server.rest_port, timeout=PATIENCE_S)
    yield connection
    connection.close()
