"""The client against a server that comes late, goes away or speaks TLS."""

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization

from pipeline.evaluation.fresh_scenes import running_server
from serving.client import LocalizerClient, RetryConfig, ServerError, TlsConfig
from serving.client.command import main
from serving.client.measurement import Measurement, write_measurement
from tests.conftest import MODEL_NAME
from tests.serving.certificates import Identity, issue
from tests.serving.relay import Relay, later
from tests.simulated import batch_of, inputs_of, loud


@pytest.fixture(scope="module")
def target(tiny_model: Path) -> Iterator[str]:
    with running_server(tiny_model, MODEL_NAME) as address:
        yield address


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(batch_of(3, loud(2)))


@pytest.fixture(scope="module")
def measurement(inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measurement") / "m.npz"
    write_measurement(path, Measurement(**inputs))
    return path


def free_port() -> int:
    with Relay("localhost:1") as relay:
        return relay.port


# Tries


def test_waits_grow_by_two_up_to_the_longest_and_are_drawn() -> None:
    config = RetryConfig(retries=8, first_wait_s=0.5, longest_wait_s=5.0)
    drawn = np.array([list(config.waits_s()) for _ in range(500)])
    longest = np.array([0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0])
    assert (drawn >= 0.5 * longest).all() and (drawn <= longest).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 0.75 * longest, rtol=0.05)
    assert np.unique(drawn[:, 0]).size > 400


def test_a_server_that_comes_late_is_waited_for(target: str, inputs) -> None:
    with later(Relay(target, port=free_port()), 1.5) as relay, LocalizerClient(relay.target, MODEL_NAME) as client:
        started = time.monotonic()
        outputs = client.predict(inputs)
        assert time.monotonic() - started > 1.0
    assert outputs["num_sources"].shape == (3,)


def test_a_server_that_goes_away_between_requests_is_found_again(
    target: str, measurement: Path, tmp_path: Path
) -> None:
    with Relay(target) as relay, LocalizerClient(relay.target, MODEL_NAME) as client:
        inputs = inputs_of(batch_of(1, loud(2)))
        before = client.predict(inputs)
        relay.drop()
        after = client.predict(inputs)
        assert relay.connections == 2
    np.testing.assert_allclose(after["position_m"], before["position_m"], atol=1e-4)


def test_tries_end_with_their_number_or_at_the_deadline(inputs) -> None:
    absent = f"localhost:{free_port()}"
    for options, least_s, most_s in (
        ({"retry": RetryConfig(0)}, 0.0, 1.0),
        ({"retry": RetryConfig(2, first_wait_s=0.4)}, 0.6, 3.0),
        ({"retry": RetryConfig(1000), "timeout_s": 2.0}, 0.2, 2.5),
    ):
        with LocalizerClient(absent, MODEL_NAME, **options) as client:
            started = time.monotonic()
            with pytest.raises(ServerError, match=f"^{absent}: UNAVAILABLE: "):
                client.predict(inputs)
            assert least_s <= time.monotonic() - started <= most_s


def test_an_answer_other_than_unavailable_is_not_asked_again(target: str, inputs) -> None:
    with LocalizerClient(target, "other", retry=RetryConfig(5, first_wait_s=2.0)) as client:
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"NOT_FOUND: Servable not found for request: Latest\(other\)"):
            client.predict(inputs)
        assert time.monotonic() - started < 1.0


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return issue(tmp_path_factory.mktemp("authority"), "authority")


def server_context(folder: Path, authority: Identity, asks_client: bool) -> ssl.SSLContext:
    server = issue(folder, "server", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.set_alpn_protocols(["h2"])
    if asks_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.cert)
    return context


def test_tls_needs_the_authority(target: str, inputs, authority: Identity, tmp_path: Path) -> None:
    once = RetryConfig(0)
    with Relay(target, server_context(tmp_path, authority, asks_client=False)) as relay:
        with LocalizerClient(relay.target, MODEL_NAME, tls=TlsConfig(authority.cert)) as client:
            assert client.predict(inputs)["num_sources"].shape == (3,)
        for tls in (None, TlsConfig(), TlsConfig(issue(tmp_path, "stranger").cert)):
            with (
                LocalizerClient(relay.target, MODEL_NAME, tls=tls, retry=once) as client,
                pytest.raises(ServerError, match="UNAVAILABLE"),
            ):
                client.predict(inputs)


def test_mutual_tls_by_the_command_line(target: str, measurement: Path, authority: Identity, tmp_path: Path) -> None:
    client = issue(tmp_path, "client", authority)
    output = tmp_path / "sources.json"
    with Relay(target, server_context(tmp_path, authority, asks_client=True)) as relay:
        command = ["--target", relay.target, "--input", str(measurement), "--output", str(output), "--retries", "0"]
        trusting = [*command, "--tls_root_certs", str(authority.cert)]
        with pytest.raises(SystemExit) as stopped:
            main(trusting)
        assert "UNAVAILABLE" in str(stopped.value.code)
        assert not output.exists()
        main([*trusting, "--tls_client_key", str(client.key), "--tls_client_cert", str(client.cert)])
    assert len(json.loads(output.read_text())) == 3


def test_wrong_pem_files_are_one_line(measurement: Path, authority: Identity, tmp_path: Path) -> None:
    client, text = issue(tmp_path, "client", authority), tmp_path / "text.pem"
    text.write_text("no certificate\n")
    private_key = serialization.load_pem_private_key(client.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(private_key.private_bytes(serialization.Encoding.PEM, form, secret))
    pair = f"tls_client_cert: expected PEM files of a certificate and its key, got {client.cert}: "
    key, cert = ("--tls_client_key", str(client.key)), ("--tls_client_cert", str(client.cert))
    for options, words in (
        (("--tls_root_certs", str(text)), f"tls_root_certs: expected a PEM file of certificates, got {text}: "),
        (("--tls_root_certs", str(tmp_path / "none")), "tls_root_certs: expected a PEM file of certificates, got "),
        (key, "tls_client_cert: expected a file beside tls_client_key, got none"),
        (cert, "tls_client_key: expected a file beside tls_client_cert, got none"),
        (("--tls_client_key", str(authority.key), *cert), pair),
        (("--tls_client_key", str(encrypted), *cert), f"{pair}the key is encrypted"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["--target", "localhost:1", "--input", str(measurement), "--output", str(tmp_path / "o"), *options])
        assert str(stopped.value.code).startswith(f"serving.client: {words}")
        assert "\n" not in str(stopped.value.code)
