"""Runs the view: opens the port, logs the address of the page, and serves until SIGTERM or ctrl-C."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn

from pipeline.view.app import view_app
from pipeline.view.guard import Guard
from pipeline.view.options import ViewOptions
from pipeline.view.outbox import Outboxes
from pipeline.view.served_model import Model
from pipeline.view.stream import Stream
from pipeline.view.uploads import Uploads
from tfds_shards.scene_sets import scene_set

_MOST_CONNECTIONS = 64
_LONGEST_COMMAND_BYTES = 4096
_LAST_BYTES_S = 2
_ENDING = (signal.SIGTERM, signal.SIGINT)


class _Server(uvicorn.Server):
    """Leaves signals to `view`, because uvicorn raises them again after it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def view(options: ViewOptions, logger: logging.Logger) -> None:
    """Serves the page until SIGTERM or SIGINT; a second signal ends the program at once."""
    config = scene_set(options.config).config
    listening = _listen(options.host, options.port)
    uploads, model = Uploads(options.upload_mb * 10**6), Model(options.target, options.model_name)
    with contextlib.closing(uploads), contextlib.closing(model), listening:
        outboxes = Outboxes()
        stream = Stream(model, config, outboxes, options.show, options.rate_hz)
        app = Guard(view_app(stream, outboxes, uploads, options.target))
        host = f"[{options.host}]" if ":" in options.host else options.host
        port = listening.getsockname()[1]
        logger.info(f"showing {options.model_name} on {options.target}: open http://{host}:{port}/")
        asyncio.run(_serve(listening, app, stream, model))
    logger.info("ended")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        where = f"{host}:{port}: {error.strerror}"
        raise ValueError(f"--host, --port: expected an available address, got {where}") from None


async def _serve(listening: socket.socket, app: Guard, stream: Stream, model: Model) -> None:
    """Serves until a signal arrives. If the stream fails, its error is raised."""
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_LAST_BYTES_S,
            ws="websockets-sansio",
            ws_max_size=_LONGEST_COMMAND_BYTES,
            ws_per_message_deflate=False,
        )
    )
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(stream.run())

    def end() -> None:
        server.should_exit = True
        model.close()  # aborts pending requests
        for number in _ENDING:
            loop.remove_signal_handler(number)

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    running.add_done_callback(lambda _: end())
    await server.serve([listening])
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
