"""The web application: static files, a WebSocket for frames and commands, and an upload of measurement files."""

import asyncio
import contextlib
import json
from importlib.resources import files

import pydantic
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from pipeline.view.drawings import drawings
from pipeline.view.outbox import Outbox, Outboxes
from pipeline.view.stream import Command, Stream
from pipeline.view.uploads import TooLarge, Uploads

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PAGE = ("view.html", "view.css", "view.js", "connection.js", "picture.js", "space.js", "spectrum.js", "favicon.svg")
_LONGEST_TITLE = 80
_COMMAND = pydantic.TypeAdapter(Command)


def _static() -> dict[str, Response]:
    """Responses with the static files, by path."""
    page, report = files("pipeline.view") / "page", files("pipeline.report")
    texts = {f"/{name}": (page / name).read_text("utf-8") for name in _PAGE}
    texts["/page.css"] = (report / "page.css").read_text("utf-8")
    answers = {path: Response(text, media_type=_TYPES[path.rpartition(".")[2]]) for path, text in texts.items()}
    return {"/": answers.pop("/view.html"), **answers}


def view_app(stream: Stream, outboxes: Outboxes, uploads: Uploads, target: str) -> FastAPI:
    """Creates the application, without the guard in front of it. The stream fills the outboxes; the target is shown."""

    hello = {"type": "hello", "target": target, "upload_bytes": uploads.most_bytes, **drawings(stream.scenario)}
    outboxes.put("hello", json.dumps(hello))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    static = _static()

    @app.post("/measurement")
    async def measurement(request: Request, name: str = "measurement.npz") -> JSONResponse:
        """Receives a file as the raw request body; `name` is the file name to display."""
        title = "".join(letter for letter in name if letter.isprintable())[:_LONGEST_TITLE]
        try:
            path = await uploads.receive(request.stream())
            scenes = await asyncio.to_thread(uploads.scenes, path, title)
        except TooLarge as error:
            return JSONResponse({"says": f"{title}: {error}"}, 413, {"connection": "close"})
        except ValueError as error:
            return JSONResponse({"says": str(error)}, 400)
        stream.show_file(scenes)
        return JSONResponse({"scenes": len(scenes.file)})

    @app.websocket("/stream")
    async def messages(socket: WebSocket) -> None:
        """Sends frames and the state of the stream to the browser; receives its commands."""
        await socket.accept()
        outbox = outboxes.join()
        sending = asyncio.create_task(_send(socket, outbox))
        try:
            async for text in socket.iter_text():
                try:
                    stream.obey(_COMMAND.validate_json(text))
                except ValueError as error:  # includes pydantic's ValidationError
                    outbox.put("error", json.dumps({"type": "error", "says": _line(error)}))
        finally:
            outboxes.leave(outbox)
            sending.cancel()

    @app.get("/{path:path}")
    async def page(request: Request) -> Response:
        """Serves a static file of the page."""
        return static.get(request.url.path) or Response("not found\n", 404, media_type="text/plain")

    return app


async def _send(socket: WebSocket, outbox: Outbox) -> None:
    """Sends messages until the browser disconnects. A browser that does not read blocks only itself."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.send_text(await outbox.take())


def _line(error: ValueError) -> str:
    if isinstance(error, pydantic.ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'command'}: {first['msg']}"
    return str(error)
