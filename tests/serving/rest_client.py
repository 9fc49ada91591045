"""REST requests of tests."""

import http.client
import json

MODEL = "/v1/models/half_plus"


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> tuple[int, str]:
    """Returns status and text; bodies that are not bytes are sent as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, data)
    response = connection.getresponse()
    return response.status, response.read().decode()


def post(connection: http.client.HTTPConnection, path: str, body: object) -> tuple[int, object]:
    status, text = ask(connection, "POST", f"{MODEL}{path}", body)
    return status, json.loads(text)
