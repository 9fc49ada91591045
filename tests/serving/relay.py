"""A TCP relay in front of a server: by TLS to the outside as an ingress does, or one that comes late or goes away."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator


class Relay:
    """Passes bytes on between a free port of this machine and `upstream`.

    Args:
      upstream: HOST:PORT.
      tls: what the outside speaks; None is plain TCP.
      port: 0 takes a free one.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._host, _, upstream_port = upstream.rpartition(":")
        self._upstream_port, self._tls, self.port = int(upstream_port), tls, port
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(65536):
                writer.write(content)
                await writer.drain()
        writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        inner_reader, inner_writer = await asyncio.open_connection(self._host, self._upstream_port)
        self._writers |= {writer, inner_writer}
        await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def drop(self) -> None:
        """Cuts every connection; new ones are taken."""
        self._loop.call_soon_threadsafe(self._abort)

    def __enter__(self) -> "Relay":
        self._loop = asyncio.new_event_loop()
        start = asyncio.start_server(self._relay, "localhost", self.port, ssl=self._tls)
        self._server = self._loop.run_until_complete(start)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    async def _stop(self) -> None:
        self._server.close()
        self._abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def later(relay: Relay, delay_s: float) -> Iterator[Relay]:
    """`relay`, but nobody listens there for the first `delay_s`."""
    with contextlib.ExitStack() as stack:
        timer = threading.Timer(delay_s, lambda: stack.enter_context(relay))
        timer.start()
        try:
            yield relay
        finally:
            timer.join()
