"""The small model of `tests.serving.models`, written once a test run, and servers of it that tests share."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.server_process import ServerProcess, free_port, server_process
from tests.serving.examples import M
from tests.serving.models import write_version
from tests.serving.servers import stubs


@pytest.fixture(scope="session")
def half_plus(made_once) -> Path:
    """A folder with versions 1 and 2, not to be written to."""

    def fill(directory: Path) -> None:
        for version in (1, 2):
            write_version(directory, version)

    return made_once("half-plus", fill)


@pytest.fixture(scope="session")
def plain_server(half_plus: Path) -> Iterator[ServerProcess]:
    """Serves the latest version over gRPC."""
    with server_process(f"--model_name={M}", f"--model_base_path={half_plus}") as running:
        yield running


@pytest.fixture(scope="session")
def prediction(plain_server: ServerProcess):
    with stubs(plain_server.target) as (prediction, _):
        yield prediction


@pytest.fixture(scope="session")
def status(plain_server: ServerProcess):
    with stubs(plain_server.target) as (_, service):
        yield lambda request, timeout: service.GetModelStatus(request, timeout=timeout)


@pytest.fixture(scope="session")
def rest_server(half_plus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Serves all versions over both; REST port and gRPC target."""
    folder, port = tmp_path_factory.mktemp("rest"), free_port()
    (folder / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    (folder / "models").write_text(
        f'model_config_list {{ config {{ name: "half_plus" base_path: "{half_plus}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    with server_process(
        f"--rest_api_port={port}",
        f"--model_config_file={folder}/models",
        "--rest_api_timeout_in_ms=3000",
        f"--monitoring_config_file={folder}/monitoring",
    ) as running:
        yield port, running.target


@pytest.fixture
def connection(rest_server: tuple[int, str]) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("localhost", rest_server[0], timeout=30)
    yield connection
    connection.close()
