"""The stream that all browsers share: it sends scenes to the model and distributes the answers and its state."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import json
import time
from typing import Any, Literal, Protocol

import grpc

from models.physics.geometry import Scenario
from pipeline.view.frames import frame
from pipeline.view.options import FASTEST_HZ, SLOWEST_HZ
from pipeline.view.outbox import Outboxes
from pipeline.view.served_model import Answer
from pipeline.view.shots import FileScenes, FreshScenes, MovingSources, Shot, Shots
from serving.client import ServerError
from tfds_shards.simulator import SceneConfig

_POLL_S = 1.0  # interval between checks of a server that is unavailable, or has no requests
_RATE_FRAMES = 20  # number of frames that the rate is measured over


@dataclasses.dataclass(frozen=True)
class Command:
    """Command of a browser: start, pause, step, show (scenes, moving or file), rate (Hz) or spectrum (bool)."""

    do: Literal["start", "pause", "step", "show", "rate", "spectrum"]
    value: Any = None


class SceneModel(Protocol):
    """A model that locates scenes, such as `pipeline.view.served_model.Model`."""

    has_spectrum: bool | None

    def ask(self, shot: Shot, spectrum: bool) -> Answer: ...

    def ready(self) -> bool: ...

    def reopen(self) -> None: ...


@dataclasses.dataclass
class State:
    """State of the stream that the page shows besides the frames."""

    show: str
    rate_hz: float
    running: bool = True
    spectrum: bool = True
    """Whether the spectrum is requested; it is available if `has_spectrum`."""
    has_spectrum: bool | None = None
    file: str | None = None
    serving: bool | None = None
    """Whether the server answers; None before the first request."""
    server_says: str = ""
    note: str = ""
    """Why the stream stopped, or an error."""


class Stream:
    """Sends one scene after the other to the model, from one thread at a time, and the answers to all browsers.
    config: of the simulated scenes. show: "scenes" or "moving"."""

    def __init__(self, model: SceneModel, config: SceneConfig, outboxes: Outboxes, show: str, rate_hz: float) -> None:
        self._model, self._config, self._outboxes = model, config, outboxes
        self.state = State(show, rate_hz)
        self._file: FileScenes | None = None
        self._frames, self._series, self._steps = itertools.count(1), 0, 0
        self._times: collections.deque[float] = collections.deque(maxlen=_RATE_FRAMES)
        self._woken = asyncio.Event()
        self._show(show)

    def obey(self, command: Command) -> None:
        """Executes a command of a browser; it applies to all browsers. Raises ValueError, one line, if the value is
        invalid."""
        do, value, state = command.do, command.value, self.state
        if do == "start":
            state.running, state.note = True, ""
        elif do == "pause":
            state.running = False
        elif do == "step":
            state.running, state.note, self._steps = False, "", 1
        elif do == "rate":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not SLOWEST_HZ <= value <= FASTEST_HZ:
                raise ValueError(f"rate: expected {SLOWEST_HZ:g} to {FASTEST_HZ:g} Hz, got {value!r}")
            state.rate_hz = float(value)
        elif do == "spectrum":
            if not isinstance(value, bool):
                raise ValueError(f"spectrum: expected true or false, got {value!r}")
            state.spectrum = value
        else:
            self._show(value)
        self._times.clear()
        self._tell()
        self._woken.set()

    def show_file(self, scenes: FileScenes) -> None:
        """Shows the first scene of a file and pauses."""
        self._file, self.state.file = scenes, scenes.title
        self._show("file")
        self.obey(Command("step"))

    def _show(self, name: Any) -> None:
        self._series += 1
        if name == "scenes":
            self._shots: Shots = FreshScenes(self._config)
        elif name == "moving":
            self._shots = MovingSources(self._config, self._series)
        elif name == "file" and self._file is not None:
            self._shots = FileScenes(self._file.title, self._file.file)
        else:
            raise ValueError(f"show: expected scenes, moving, or file after an upload, got {name!r}")
        self.state.show, self.state.running, self.state.note = name, True, ""

    def _tell(self) -> None:
        self._outboxes.put("state", json.dumps({"type": "state", **dataclasses.asdict(self.state)}))

    async def run(self) -> None:
        """Runs until it is cancelled."""
        self._tell()
        waiting: tuple[Shots, Shot] | None = None  # a scene without an answer so far
        due = time.monotonic()
        while True:
            if not (self.state.running or self._steps):
                await self._poll()
                continue
            started, shots, period_s = time.monotonic(), self._shots, 1.0 / self.state.rate_hz
            due = min(max(due, started - period_s), started) + period_s  # time of the next scene; catches up if late
            if waiting is None or waiting[0] is not shots:
                shot = await self._following(shots)
                if shot is None:
                    continue
                waiting = (shots, shot)
            try:
                answered = await asyncio.to_thread(self._frame, waiting[1], self.state.spectrum)
            except ServerError as error:
                await self._unavailable(_reason(error))
                continue
            except ValueError as error:
                waiting = None
                self._stop(shots, str(error))
                continue
            waiting = None
            if self._shots is shots:
                self._publish(answered)
            await self._pause_s(due - time.monotonic())

    async def _following(self, shots: Shots) -> Shot | None:
        try:
            shot = await asyncio.to_thread(shots.following, 1.0 / self.state.rate_hz)
        except ValueError as error:
            self._stop(shots, str(error))
            return None
        if shot is None:
            self._stop(shots, "This was the last scene. Start shows them again.")
        return shot

    def _frame(self, shot: Shot, spectrum: bool) -> dict[str, Any]:
        return frame(shot, self._model.ask(shot, spectrum), self.scenario)

    def _publish(self, answered: dict[str, Any]) -> None:
        self._steps = 0
        self._serves(True, "", self._model.has_spectrum)
        self._times.append(time.monotonic())
        passed_s = self._times[-1] - self._times[0]
        rate_hz = round((len(self._times) - 1) / passed_s, 1) if passed_s > 0 else None
        more = {"rate_hz": rate_hz, "series": self._series, "moving": self.state.show == "moving"}
        message = {"type": "frame", **answered, "number": next(self._frames), **more}
        self._outboxes.put("frame", json.dumps(message, allow_nan=False))

    @property
    def scenario(self) -> Scenario:
        """The installation that scenes are simulated for."""
        return self._config.scenario

    def _stop(self, shots: Shots, note: str) -> None:
        """Stops a series, unless another one is shown in the meantime."""
        if self._shots is shots:
            self.state.running, self.state.note, self._steps = False, note, 0
            self._tell()

    def _serves(self, serving: bool, says: str, has_spectrum: bool | None) -> None:
        state = self.state
        if (serving, says, has_spectrum) != (state.serving, state.server_says, state.has_spectrum):
            state.serving, state.server_says, state.has_spectrum = serving, says, has_spectrum
            self._tell()

    async def _unavailable(self, says: str) -> None:
        """Reports that the server is unavailable, and waits before the next request."""
        self._times.clear()
        self._serves(False, says, self.state.has_spectrum)
        await asyncio.to_thread(self._model.reopen)
        await self._pause_s(_POLL_S)

    async def _poll(self) -> None:
        """Checks whether the server is available while there are no requests, and waits."""
        ready = await asyncio.to_thread(self._model.ready)
        if ready != self.state.serving:
            self._serves(ready, "" if ready else "no answer, or the model is not served", self.state.has_spectrum)
            await asyncio.to_thread(self._model.reopen)
        await self._pause_s(_POLL_S)

    async def _pause_s(self, seconds: float) -> None:
        """Waits, but at most until the next command."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()


def _reason(error: ServerError) -> str:
    """A short reason. For an unavailable server, gRPC lists the addresses it tried; the end has the actual error."""
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return error.details.rpartition(": ")[2]
    return f"{error.code.name}: {error.details}"
