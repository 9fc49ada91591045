"""HTTP requests to the REST port of a model server."""

import dataclasses
import json
import urllib.error
import urllib.request
from typing import Any


@dataclasses.dataclass(frozen=True)
class Answer:
    """HTTP status, body and content type."""

    status: int
    text: str
    content_type: str

    @property
    def json(self) -> Any:
        """The parsed body; NaN, as TF Serving writes it, is accepted."""
        return json.loads(self.text)


@dataclasses.dataclass(frozen=True)
class Rest:
    """The REST port of a server; `target` is HOST:PORT, and `deadline_s` that of every request, seconds."""

    target: str
    deadline_s: float

    def ask(self, path: str, body: Any = None) -> Answer:
        """Sends POST with a body, otherwise GET. Bytes and text are sent unchanged, other bodies as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = (body if isinstance(body, str) else json.dumps(body)).encode()
        request = urllib.request.Request(f"http://{self.target}{path}", data=body)
        try:
            response = urllib.request.urlopen(request, timeout=self.deadline_s)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return Answer(response.status, response.read().decode(), response.headers.get_content_type())
