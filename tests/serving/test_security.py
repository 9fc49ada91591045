"""TLS, mutual TLS and health over them, with certificates that the tests issue."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.model_server import main
from tests.serving.certificates import Identity, issue
from tests.serving.in_process import in_process_server
from tests.serving.servers import PATIENCE_S, predict_request, stubs


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """An authority, and a server and a client that it has certified."""
    folder = tmp_path_factory.mktemp("known")
    authority = issue(folder, "authority")
    return {"authority": authority, **{name: issue(folder, name, authority) for name in ("server", "client")}}


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """Another authority, and a client of the same name that it has certified."""
    folder = tmp_path_factory.mktemp("unknown")
    authority = issue(folder, "authority")
    return {"authority": authority, "client": issue(folder, "client", authority)}


def ssl_config(folder: Path, known: dict[str, Identity], client_verify: bool) -> str:
    pems = {
        "server_key": known["server"].key,
        "server_cert": known["server"].cert,
        "custom_ca": known["authority"].cert,
    }
    lines = [f"{field}: {json.dumps(path.read_text())}" for field, path in pems.items()]
    file = folder / "ssl.config"
    file.write_text("\n".join([*lines, f"client_verify: {str(client_verify).lower()}"]))
    return f"--ssl_config_file={file}"


def credentials(authority: Identity, own: Identity | None = None) -> grpc.ChannelCredentials:
    pair = (own.key.read_bytes(), own.cert.read_bytes()) if own else ()
    return grpc.ssl_channel_credentials(authority.cert.read_bytes(), *pair)


def predicts(target: str, channel: grpc.ChannelCredentials | None) -> bool:
    """Returns whether a request succeeds; if not, the connection must have failed."""
    with stubs(target, channel) as (prediction, _):
        request = predict_request("default", x=np.float32([2.0]))
        try:
            return list(prediction.Predict(request, timeout=PATIENCE_S).outputs["y"].float_val) == [3.0]
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return False


def test_tls_shows_the_servers_certificate_to_anyone(half_plus: Path, tmp_path: Path, known, unknown) -> None:
    with in_process_server(f"--model_base_path={half_plus}", ssl_config(tmp_path, known, False)) as running:
        assert predicts(running.target, credentials(known["authority"]))
        assert not predicts(running.target, credentials(unknown["authority"]))
        assert not predicts(running.target, None)


@pytest.fixture(scope="module")
def mutual(half_plus: Path, tmp_path_factory: pytest.TempPathFactory, known) -> Iterator[str]:
    config, health = ssl_config(tmp_path_factory.mktemp("ssl"), known, True), "--enable_grpc_healthcheck_service"
    with in_process_server(f"--model_base_path={half_plus}", config, health) as running:
        yield running.target


def test_mutual_tls_asks_for_the_clients(mutual: str, known, unknown) -> None:
    assert predicts(mutual, credentials(known["authority"], known["client"]))
    assert not predicts(mutual, credentials(known["authority"]))
    assert not predicts(mutual, credentials(known["authority"], unknown["client"]))


def test_health_over_it(mutual: str, known) -> None:
    with grpc.secure_channel(mutual, credentials(known["authority"], known["client"])) as channel:
        ask = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert ask(b"", timeout=PATIENCE_S) == b"\x08\x01"  # field 1, SERVING
        check = health_pb2_grpc.HealthStub(channel).Check
        for service in ("PredictionService", "tensorflow.serving.ModelService", "default"):
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('server_key: "x" server_cert: "y"', "--ssl_config_file: server_key: expected the text of a PEM file"),
        ('server_keys: "x"', "Error parsing text-format tensorflow.serving.SSLConfig: "),
        ('server_key: "-----BEGIN" server_cert: "-----BEGIN" client_verify: true',
         "--ssl_config_file: custom_ca: expected the text of a PEM file with client_verify"),
        ('server_key: "-----BEGIN" server_cert: "-----BEGIN"', "--port: "),
    ],
)  # fmt: skip
def test_files_that_are_refused(half_plus: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ssl").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["--port=0", f"--model_base_path={half_plus}", f"--ssl_config_file={tmp_path / 'ssl'}"])
    assert message in str(stopped.value.code)
    assert "\n" not in str(stopped.value.code)
