"""The model server in this process: like `serving.model_server`, but without the time to import TensorFlow."""

import contextlib
import io
import logging
import threading
from collections.abc import Iterator

from serving.model_server import flag_parser
from serving.server.app import ModelServer
from serving.server_process import wait_until
from tests.serving.servers import PATIENCE_S


class InProcessServer:
    """A running server. gRPC uses a free port, and REST calls have a long time limit.

    Args:
      flags: as on the command line.
    """

    def __init__(self, *flags: str) -> None:
        self.announced: list[tuple[str, int]] = []
        """Names and versions that have started to serve."""
        self._log = io.StringIO()
        self.stop = threading.Event()
        self.finished: bool | None = None
        always = ("--port=0", f"--rest_api_timeout_in_ms={PATIENCE_S * 1e3:.0f}")
        self._server = ModelServer(flag_parser().parse_args([*always, *flags]), self._announce)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        wait_until(lambda: bool(self.announced) or not self._thread.is_alive())
        assert self.announced, self.log_text()

    def _announce(self, name: str, version: int, port: int, rest_port: int | None) -> None:
        self.port, self.rest_port = port, rest_port
        self.announced.append((name, version))

    def _serve(self) -> None:
        handler, log = logging.StreamHandler(self._log), logging.getLogger("serving")
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        self.finished = self._server.serve(self.stop)
        log.removeHandler(handler)

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def log_text(self) -> str:
        """Returns its log so far."""
        return self._log.getvalue()

    def end(self) -> None:
        """Stops it gracefully and waits."""
        self.stop.set()
        self._thread.join()


@contextlib.contextmanager
def in_process_server(*flags: str) -> Iterator[InProcessServer]:
    """Runs a server within the block."""
    running = InProcessServer(*flags)
    try:
        yield running
    finally:
        running.end()
