"""HTTP below REST: persistent connections, chunked and gzipped bodies, hostile bytes."""

import gzip
import http.client
import json
import socket
import threading

import pytest

from tests.serving.in_process import InProcessServer
from tests.serving.rest_client import MODEL, post
from tests.serving.servers import PATIENCE_S


def test_sixteen_clients_on_kept_connections(shared_server: InProcessServer) -> None:
    wrong: list[object] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("localhost", shared_server.rest_port, timeout=PATIENCE_S)
        connection.connect()
        first = connection.sock
        for turn in range(20):
            found = post(connection, ":predict", {"instances": [float(number), float(turn)]})
            if found != (200, {"predictions": [number / 2 + 2, turn / 2 + 2]}) or connection.sock is not first:
                wrong.append(found)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_chunked_bodies_and_clients_that_wait_for_100(shared_server: InProcessServer) -> None:
    connection = http.client.HTTPConnection("localhost", shared_server.rest_port, timeout=PATIENCE_S)
    pieces = iter([b'{"instances"', b": [2.0", b"]}"])
    connection.request(
        "POST", f"{MODEL}:predict", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert json.loads(connection.getresponse().read()) == {"predictions": [3.0]}
    connection.close()
    body = b'{"instances": [2.0]}'
    with socket.create_connection(("localhost", shared_server.rest_port), PATIENCE_S) as raw:
        head = (f"POST {MODEL}:predict HTTP/1.1", "Host: here", "Expect: 100-continue", "Connection: close")
        raw.sendall("\r\n".join((*head, f"Content-Length: {len(body)}", "", "")).encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(body)
        assert b'{"predictions": [3.0]}' in raw.makefile("rb").read()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (gzip.compress(b'{"instances": [2.0]}'), 200, '{"predictions": [3.0]}'),
        (gzip.compress(b'{"instances": [2.0]}')[:-9], 400, "Failed to uncompress the gzipped body"),
        (b'{"instances": [2.0]}', 400, "Failed to uncompress the gzipped body"),
    ],
    ids=["whole", "cut", "not zipped"],
)
def test_gzipped_bodies(connection, body: bytes, status: int, text: str) -> None:
    connection.request("POST", f"{MODEL}:predict", body, {"Content-Encoding": "gzip"})
    response = connection.getresponse()
    assert (response.status, text in response.read().decode()) == (status, True)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\n" + b"a: b\r\n" * 20_000, 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nHost: here\r\nContent-Length: {10**12}\r\n\r\n".encode(), 429),
        (f"POST {MODEL}:predict HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n".encode(), 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".encode(), 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nshort".encode(), None),
        (b"", None),
    ],
    ids=["nonsense", "long path", "long head", "huge body", "negative", "wrong chunk", "short body", "nothing"],
)
def test_hostile_bytes_are_refused_or_dropped(shared_server: InProcessServer, sent: bytes, status: int | None) -> None:
    with socket.create_connection(("localhost", shared_server.rest_port), PATIENCE_S) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = raw.recv(1000)
    assert answer[:12].decode() == ("" if status is None else f"HTTP/1.1 {status}")
