"""TLS and mutual TLS, and health over them; certificates are made on the spot."""

import dataclasses
import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.model_server import main
from tests.serving.in_process import in_process_server
from tests.serving.servers import PATIENCE_S, predict_request, stubs


@dataclasses.dataclass(frozen=True)
class Identity:
    """A key and its certificate, as PEM."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        no_password = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def identity(name: str, issuer: Identity | None = None) -> Identity:
    """A certificate signed by `issuer`, or an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Identity(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


AUTHORITY, STRANGER = identity("authority"), identity("stranger")
SERVER, CLIENT, INTRUDER = identity("server", AUTHORITY), identity("client", AUTHORITY), identity("client", STRANGER)


def ssl_config(folder: Path, client_verify: bool) -> str:
    def quoted(pem: bytes) -> str:
        return '"' + pem.decode().replace("\n", "\\n") + '"'

    file = folder / "ssl.config"
    file.write_text(
        f"server_key: {quoted(SERVER.key_pem)}\nserver_cert: {quoted(SERVER.pem)}\ncustom_ca: {quoted(AUTHORITY.pem)}\n"
        f"client_verify: {str(client_verify).lower()}\n"
    )
    return f"--ssl_config_file={file}"


def credentials(authority: Identity, own: Identity | None = None) -> grpc.ChannelCredentials:
    if own is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, own.key_pem, own.pem)


def predicts(target: str, channel: grpc.ChannelCredentials | None) -> bool:
    """Whether a request comes through; if not, the connection failed."""
    with stubs(target, channel) as (prediction, _):
        request = predict_request("default", x=np.float32([2.0]))
        try:
            return list(prediction.Predict(request, timeout=PATIENCE_S).outputs["y"].float_val) == [3.0]
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return False


def test_tls_shows_the_servers_certificate_to_anyone(half_plus: Path, tmp_path: Path) -> None:
    with in_process_server(f"--model_base_path={half_plus}", ssl_config(tmp_path, False)) as running:
        assert predicts(running.target, credentials(AUTHORITY))
        assert not predicts(running.target, credentials(STRANGER))
        assert not predicts(running.target, None)


@pytest.fixture(scope="module")
def mutual(half_plus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config, health = ssl_config(tmp_path_factory.mktemp("ssl"), True), "--enable_grpc_healthcheck_service"
    with in_process_server(f"--model_base_path={half_plus}", config, health) as running:
        yield running.target


def test_mutual_tls_asks_for_the_clients(mutual: str) -> None:
    assert predicts(mutual, credentials(AUTHORITY, CLIENT))
    assert not predicts(mutual, credentials(AUTHORITY))
    assert not predicts(mutual, credentials(AUTHORITY, INTRUDER))


def test_health_over_it(mutual: str) -> None:
    with grpc.secure_channel(mutual, credentials(AUTHORITY, CLIENT)) as channel:
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
