"""A TCP relay in front of a server: by TLS to the outside as an ingress does, or on a port that was held before."""

import asyncio
import contextlib
import socket
import ssl
import threading


class Relay:
    """Passes bytes on between a port of this machine and `upstream`.

    Args:
      upstream: HOST:PORT.
      tls: what the outside speaks; None is plain TCP.
      held: a bound socket to listen on; None takes a free port.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None, held: socket.socket | None = None) -> None:
        self._host, _, upstream_port = upstream.rpartition(":")
        self._upstream_port, self._tls, self._held = int(upstream_port), tls, held
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

    async def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def drop(self) -> None:
        """Cuts every connection; new ones are taken."""
        asyncio.run_coroutine_threadsafe(self._abort(), self._loop).result()

    def __enter__(self) -> "Relay":
        self._loop = asyncio.new_event_loop()
        listening = self._held.dup() if self._held else socket.create_server(("127.0.0.1", 0))
        start = asyncio.start_server(self._relay, sock=listening, ssl=self._tls)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _stop(self) -> None:
        self._server.close()
        await self._abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
