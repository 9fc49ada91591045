"""The one stream that all browsers see: which scenes, how fast, running or paused, and how it is with the server."""

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
from pipeline.view.asking import Answer
from pipeline.view.frames import frame
from pipeline.view.options import FASTEST_HZ, SLOWEST_HZ
from pipeline.view.outbox import Outboxes
from pipeline.view.shots import FileScenes, FreshScenes, MovingSources, Shot, Shots
from serving.client import ServerError
from tfds_shards.simulator import SceneConfig

_LOOK_S = 1.0  # between two looks at a server that is away, or that nothing is asked of
_RATE_OF = 20  # frames that the rate is measured over


@dataclasses.dataclass(frozen=True)
class Command:
    """What a browser asks: start, pause, step, show (scenes, moving or file), rate (Hz) or spectrum (bool)."""

    do: Literal["start", "pause", "step", "show", "rate", "spectrum"]
    value: Any = None


class Asked(Protocol):
    """What is asked for scenes; `pipeline.view.asking.Model` is one."""

    has_spectrum: bool | None

    def ask(self, shot: Shot, spectrum: bool) -> Answer: ...

    def ready(self) -> bool: ...

    def reopen(self) -> None: ...


@dataclasses.dataclass
class State:
    """What the page shows of the stream besides its frames."""

    show: str
    rate_hz: float
    running: bool = True
    spectrum: bool = True
    """Whether it is wanted; it is there if `has_spectrum`."""
    has_spectrum: bool | None = None
    file: str | None = None
    serving: bool | None = None
    """Whether the server answers; None before it was asked."""
    server_says: str = ""
    note: str = ""
    """What ended the stream, or is wrong."""


class Stream:
    """Asks for one scene after the other and tells all browsers.

    Args:
      model: what is asked; by one thread at a time.
      config: how scenes are simulated.
      outboxes: the browsers.
      show: "scenes" or "moving".
      rate_hz: scenes a second.
    """

    def __init__(self, model: Asked, config: SceneConfig, outboxes: Outboxes, show: str, rate_hz: float) -> None:
        self._model, self._config, self._outboxes = model, config, outboxes
        self.state = State(show, rate_hz)
        self._file: FileScenes | None = None
        self._frames, self._series = itertools.count(1), 0
        self._steps = 0
        self._times: collections.deque[float] = collections.deque(maxlen=_RATE_OF)
        self._woken = asyncio.Event()
        self._show(show)

    def obey(self, command: Command) -> None:
        """Does what a browser asks, for all.

        Raises:
          ValueError: a value that cannot be; one line.
        """
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
        """Shows the first scene of a file, and waits for who wants to see the others."""
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
            raise ValueError(f"show: expected scenes, moving, or file once there is one, got {name!r}")
        self.state.show, self.state.running, self.state.note = name, True, ""

    def _tell(self) -> None:
        self._outboxes.put("state", json.dumps({"type": "state", **dataclasses.asdict(self.state)}))

    async def run(self) -> None:
        """Until it is cancelled."""
        self._tell()
        waiting: tuple[Shots, Shot] | None = None  # a scene that was not answered yet
        due = time.monotonic()
        while True:
            if not (self.state.running or self._steps):
                await self._look()
                continue
            started, shots, period_s = time.monotonic(), self._shots, 1.0 / self.state.rate_hz
            due = min(max(due, started - period_s), started) + period_s  # of the next; a late one is made up for
            if waiting is None or waiting[0] is not shots:
                shot = await self._following(shots)
                if shot is None:
                    continue
                waiting = (shots, shot)
            try:
                told = await asyncio.to_thread(self._told, waiting[1], self.state.spectrum)
            except ServerError as error:
                await self._away(_reason(error))
                continue
            except ValueError as error:
                waiting = None
                self._stop(shots, str(error))
                continue
            waiting = None
            if self._shots is shots:
                self._show_answer(told)
            await self._pause_s(due - time.monotonic())

    async def _following(self, shots: Shots) -> Shot | None:
        try:
            shot = await asyncio.to_thread(shots.following, 1.0 / self.state.rate_hz)
        except ValueError as error:
            self._stop(shots, str(error))
            return None
        if shot is None:
            self._stop(shots, "That was the last scene; Start shows them again.")
        return shot

    def _told(self, shot: Shot, spectrum: bool) -> dict[str, Any]:
        return frame(shot, self._model.ask(shot, spectrum), self.scenario)

    def _show_answer(self, told: dict[str, Any]) -> None:
        self._steps = 0
        self._serves(True, "", self._model.has_spectrum)
        self._times.append(time.monotonic())
        passed_s = self._times[-1] - self._times[0]
        rate_hz = round((len(self._times) - 1) / passed_s, 1) if passed_s > 0 else None
        more = {
            "number": next(self._frames),
            "rate_hz": rate_hz,
            "series": self._series,
            "moving": self.state.show == "moving",
        }
        self._outboxes.put("frame", json.dumps({"type": "frame", **told, **more}, allow_nan=False))

    @property
    def scenario(self) -> Scenario:
        """The installation that scenes are simulated for."""
        return self._config.scenario

    def _stop(self, shots: Shots, note: str) -> None:
        """Ends a series, unless another one is shown by now."""
        if self._shots is shots:
            self.state.running, self.state.note, self._steps = False, note, 0
            self._tell()

    def _serves(self, serving: bool, says: str, has_spectrum: bool | None) -> None:
        state = self.state
        if (serving, says, has_spectrum) != (state.serving, state.server_says, state.has_spectrum):
            state.serving, state.server_says, state.has_spectrum = serving, says, has_spectrum
            self._tell()

    async def _away(self, says: str) -> None:
        """Says so, and waits a moment before the server is asked again."""
        self._times.clear()
        self._serves(False, says, self.state.has_spectrum)
        await asyncio.to_thread(self._model.reopen)
        await self._pause_s(_LOOK_S)

    async def _look(self) -> None:
        """Nothing is to be asked: looks whether the server is there, and waits a moment."""
        ready = await asyncio.to_thread(self._model.ready)
        if ready != self.state.serving:
            self._serves(ready, "" if ready else "no answer, or none that serves the model", self.state.has_spectrum)
            await asyncio.to_thread(self._model.reopen)
        await self._pause_s(_LOOK_S)

    async def _pause_s(self, seconds: float) -> None:
        """Waits, but not longer than until somebody asks for something."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), seconds)
        self._woken.clear()


def _reason(error: ServerError) -> str:
    """In a few words: gRPC says of one that is away which addresses it tried, and at the end what happened."""
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return error.details.rpartition(": ")[2]
    return f"{error.code.name}: {error.details}"
