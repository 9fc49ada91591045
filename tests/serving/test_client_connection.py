"""The client against servers that are away, come late, refuse, are several or speak TLS."""

import json
import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization

from serving.client import LocalizerClient, RetryConfig, ServerError, TlsConfig
from serving.client.command import main
from serving.client.measurement import Measurement, write_measurement
from serving.server_process import server_process
from tests.conftest import MODEL_NAME, Served
from tests.serving.certificates import Identity, issue
from tests.serving.ports import held_port
from tests.serving.relay import Relay
from tests.serving.scripted_server import ANTENNAS, ELEMENTS, ScriptedServer, found, refusing, two_servers
from tests.serving.servers import PATIENCE_S
from tests.simulated import batch_of, inputs_of, loud

SOON = RetryConfig(first_wait_s=0.01, longest_wait_s=1.0)  # the longest is what a connection has to come about
ONCE = RetryConfig(retries=0)


@pytest.fixture(scope="module")
def target(tiny_server: Served) -> str:
    return tiny_server.target


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return inputs_of(batch_of(3, loud(2)))


@pytest.fixture(scope="module")
def measurement(inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measurement") / "m.npz"
    write_measurement(path, Measurement(**inputs))
    return path


def scenes(batch: int = 2) -> dict[str, np.ndarray]:
    """A measurement of the scripted server's installation."""
    ones = {"snapshots": (batch, 4, ANTENNAS), "ris_codes": (4, ELEMENTS), "channel": (ANTENNAS, ELEMENTS)}
    return {name: np.ones(shape, np.complex64) for name, shape in ones.items()} | {"snr_db": np.ones(batch)}


class Waiting(logging.Handler):
    """What the client says of waiting, and an event at the first of it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.begun = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.begun.set()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    handler = Waiting()
    logger = logging.getLogger("serving.client")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def beside() -> Iterator[futures.Executor]:
    """Runs a client beside the test."""
    with futures.ThreadPoolExecutor(1) as pool:
        yield pool


# Tries


def test_waits_grow_by_two_up_to_the_longest_and_are_drawn() -> None:
    config = RetryConfig(retries=8, first_wait_s=0.5, longest_wait_s=5.0)
    drawn = np.array([list(config.waits_s()) for _ in range(500)])
    longest = np.array([0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0])
    assert (drawn >= 0.5 * longest).all() and (drawn <= longest).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 0.75 * longest, rtol=0.05)
    assert np.unique(drawn[:, 0]).size > 400


@pytest.mark.parametrize("listens", [False, True], ids=["refuses connections", "takes them and says nothing"])
def test_a_server_that_comes_late_is_waited_for(listens: bool, waiting: Waiting, beside: futures.Executor) -> None:
    """The second is what a client sees of a port that is open while the model loads."""
    with (
        ScriptedServer(found) as server,
        held_port() as held,
        LocalizerClient(held.target, retry=SOON, timeout_s=PATIENCE_S) as client,
    ):
        if listens:
            held.socket.listen()
        answer = beside.submit(client.localize, scenes())
        assert waiting.begun.wait(PATIENCE_S)
        with Relay(server.target, held=held.socket):
            assert [scene["num_sources"] for scene in answer.result(PATIENCE_S)] == [1, 1]
        (line,) = waiting.lines  # once, however often it asked
        assert line.startswith(f"waiting for {held.target}: ")


@pytest.mark.extended
def test_a_client_started_with_the_server_gets_its_answer(tiny_model: Path, measurement: Path, tmp_path: Path) -> None:
    """Both in processes of their own, the client first; the port is theirs, and refuses until the server listens."""
    with held_port(shared=True) as held:
        port = held.port
        files = ["--input", str(measurement), "--output", str(tmp_path / "sources.json")]
        command = [sys.executable, "-m", "serving.client", "--target", f"localhost:{port}", *files]
        client = subprocess.Popen([*command, "--timeout_s", str(PATIENCE_S)], stderr=subprocess.PIPE, text=True)
        assert client.stderr is not None
        said = ""
        while "waiting for" not in said and (line := client.stderr.readline()):
            said += line
        flags = (f"--model_base_path={tiny_model}", "--grpc_channel_arguments=grpc.so_reuseport=1")
        with client, server_process(f"--port={port}", f"--model_name={MODEL_NAME}", *flags):
            said += client.stderr.read()
    assert client.returncode == 0, said
    assert len(json.loads((tmp_path / "sources.json").read_text())) == 3
    lines = [line for line in said.splitlines() if "waiting for" in line]
    assert len(lines) == 1 and lines[0].startswith(f"waiting for localhost:{port}: "), said


def test_a_server_that_goes_away_between_requests_is_found_again() -> None:
    with (
        ScriptedServer(found) as server,
        Relay(server.target) as relay,
        LocalizerClient(relay.target, retry=SOON, timeout_s=PATIENCE_S) as client,
    ):
        before = client.localize(scenes())
        relay.drop()
        assert client.localize(scenes()) == before
        assert relay.connections > 1


def test_tries_end_with_their_number() -> None:
    unavailable = grpc.StatusCode.UNAVAILABLE
    for retries in (0, 2):
        config = RetryConfig(retries, first_wait_s=0.01)
        for refused in (retries, retries + 1):
            with (
                ScriptedServer(refusing(unavailable, refused, "busy")) as server,
                LocalizerClient(server.target, retry=config, timeout_s=PATIENCE_S) as client,
            ):
                if refused <= retries:
                    assert len(client.localize(scenes())) == 2
                else:
                    with pytest.raises(ServerError, match=f"^{server.target}: UNAVAILABLE: busy$") as error:
                        client.localize(scenes())
                    assert error.value.code is unavailable
                assert len(server.requests) == retries + 1


def test_tries_end_at_the_deadline() -> None:
    """They have no other end here."""
    with held_port() as held, LocalizerClient(held.target, retry=SOON, timeout_s=0.5) as client:
        with pytest.raises(ServerError, match=f"^{held.target}: ") as error:
            client.localize(scenes())
        assert error.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE")])
def test_an_answer_other_than_unavailable_is_not_asked_again(code: grpc.StatusCode) -> None:
    with (
        ScriptedServer(refusing(code, 1, "two\nlines")) as server,
        LocalizerClient(server.target, timeout_s=PATIENCE_S) as client,
    ):
        with pytest.raises(ServerError, match=f"{code.name}: two lines$") as error:
            client.localize(scenes())
        assert error.value.code is code
        assert len(server.requests) == 1


# Several servers behind a name


def test_every_server_behind_a_name_has_its_share(beside: futures.Executor) -> None:
    with two_servers() as (one, two, target), LocalizerClient(target, timeout_s=PATIENCE_S) as client:
        while not (one.peers and two.peers):  # the second connection may take a moment longer
            client.localize(scenes(1))
        before = len(one.peers), len(two.peers)
        versions = [client.localize(scenes(1))[0]["model_version"] for _ in range(20)]
        assert (len(one.peers), len(two.peers)) == (before[0] + 10, before[1] + 10)
        assert versions.count(1) == versions.count(2) == 10


def test_no_call_is_lost_when_connections_age() -> None:
    """As serving/deploy has it, in a hurry: the client comes back on a new connection."""
    aging = (("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 60_000))
    with (
        ScriptedServer(found, options=aging) as server,
        LocalizerClient(server.target, retry=ONCE, timeout_s=PATIENCE_S) as client,
    ):
        while len(set(server.peers)) < 4:
            assert client.localize(scenes(1))


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
    with Relay(target, server_context(tmp_path, authority, asks_client=False)) as relay:
        with LocalizerClient(relay.target, MODEL_NAME, timeout_s=PATIENCE_S, tls=TlsConfig(authority.cert)) as client:
            assert client.predict(inputs).outputs["num_sources"].shape == (3,)
        for tls in (None, TlsConfig(), TlsConfig(issue(tmp_path, "stranger").cert)):
            with (
                LocalizerClient(relay.target, MODEL_NAME, tls=tls, retry=ONCE) as client,
                pytest.raises(ServerError, match="UNAVAILABLE"),
            ):
                client.predict(inputs)


def test_mutual_tls_by_the_command_line(target: str, measurement: Path, authority: Identity, tmp_path: Path) -> None:
    client = issue(tmp_path, "client", authority)
    output = tmp_path / "sources.json"
    with Relay(target, server_context(tmp_path, authority, asks_client=True)) as relay:
        command = ["--target", relay.target, "--input", str(measurement), "--output", str(output), "--retries", "0"]
        trusting = [*command, "--timeout_s", str(PATIENCE_S), "--tls_root_certs", str(authority.cert)]
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
