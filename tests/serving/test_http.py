"""HTTP under REST: kept connections, chunked and zipped bodies, hostile bytes."""

import gzip
import http.client
import json
import socket
import threading

import pytest

from tests.serving.rest_client import MODEL, post


def test_sixteen_clients_on_kept_connections(rest_server: tuple[int, str]) -> None:
    wrong: list[object] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("localhost", rest_server[0], timeout=30)
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


def test_chunked_bodies_and_clients_that_wait_for_100(rest_server: tuple[int, str]) -> None:
    connection = http.client.HTTPConnection("localhost", rest_server[0], timeout=30)
    pieces = iter([b'{"instances"', b": [2.0", b"]}"])
    connection.request(
        "POST", f"{MODEL}:predict", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert json.loads(connection.getresponse().read()) == {"predictions": [3.0]}
    connection.close()
    body = b'{"instances": [2.0]}'
    with socket.create_connection(("localhost", rest_server[0]), 30) as raw:
        head = f"POST {MODEL}:predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(body)
        assert b'{"predictions": [3.0]}' in raw.recv(1000)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (gzip.compress(b'{"instances": [2.0]}'), 200, '{"predictions": [3.0]}'),
        (gzip.compress(b" " * 100_000_000), 429, "request body larger than"),
        (b'{"instances": [2.0]}', 400, "Failed to uncompress the gzipped body"),
    ],
)
def test_gzipped_bodies(connection, body: bytes, status: int, text: str) -> None:
    connection.request("POST", f"{MODEL}:predict", body, {"Content-Encoding": "gzip"})
    response = connection.getresponse()
    assert (response.status, text in response.read().decode()) == (status, True)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (f"POST {MODEL}:predict HTTP/1.1\r\nContent-Length: {10**12}\r\n\r\n".encode(), 429),
        (f"POST {MODEL}:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n".encode(), 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".encode(), 400),
        (f"POST {MODEL}:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n".encode(), 429),
        (f"POST {MODEL}:predict HTTP/1.1\r\nContent-Length: 100\r\n\r\nshort".encode(), None),
        (b"", None),
    ],
)
def test_hostile_bytes_are_refused_or_dropped(rest_server: tuple[int, str], sent: bytes, status: int | None) -> None:
    with socket.create_connection(("localhost", rest_server[0]), 30) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = raw.recv(1000)
    assert answer[:12].decode() == ("" if status is None else f"HTTP/1.1 {status}")
