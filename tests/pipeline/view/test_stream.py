"""The stream of the view: commands apply to all browsers, it waits for a lost server, slow browsers miss frames."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from pipeline.view.outbox import MOST_FRAMES, Outbox, Outboxes
from pipeline.view.served_model import Answer, Model
from pipeline.view.shots import FileScenes, Shot
from pipeline.view.stream import Command, Stream
from serving.client import ServerError
from serving.client.measurement_file import MeasurementFile
from tests.serving.scripted_server import ANTENNAS, ELEMENTS, ScriptedServer, found, refusing
from tests.serving.servers import PATIENCE_S
from tfds_shards.simulator import CONFIGS

FASTEST = 50.0
AWAY = ServerError("here", grpc.StatusCode.UNAVAILABLE, "tried it: Connection refused")


class Scripted:
    """A model that finds nothing, or fails with `failures`, one per call."""

    has_spectrum: bool | None = False

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.asked, self.reopened, self.looked = list(failures), list[Shot](), 0, 0

    def ask(self, shot: Shot, spectrum: bool) -> Answer:
        self.asked.append(shot)
        if self.failures:
            raise self.failures.pop(0)
        nothing = np.full((1, 5), np.nan)
        outputs = {name: nothing for name in ("azimuth_deg", "elevation_deg", "range_m", "score")}
        outputs |= {"num_sources": np.zeros(1, int), "position_m": np.full((1, 5, 3), np.nan)}
        return Answer(outputs, None, 1.0, 7)

    def ready(self) -> bool:
        self.looked += 1
        return not self.failures

    def reopen(self) -> None:
        self.reopened += 1


class Browser:
    """Messages that one browser receives."""

    def __init__(self, outboxes: Outboxes) -> None:
        self.outbox = outboxes.join()

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits for the first message that fulfils the condition."""
        while True:
            message = json.loads(await self.outbox.take())
            if holds(message):
                return message

    async def frame(self) -> dict[str, Any]:
        return await self.until(lambda message: message["type"] == "frame")


def played(play: Callable[[Stream, Outboxes], Awaitable[None]], model: Any) -> None:
    """Runs a stream of `model` beside `play`."""

    async def both() -> None:
        outboxes = Outboxes()
        stream = Stream(model, CONFIGS["l64_m64"], outboxes, "scenes", FASTEST)
        running = asyncio.create_task(stream.run())
        await asyncio.sleep(0)  # the stream starts first, in every version of Python
        await asyncio.wait_for(play(stream, outboxes), PATIENCE_S)
        assert not running.done()
        running.cancel()

    asyncio.run(both())


@pytest.mark.stage("view")
def test_all_browsers_see_the_same_and_controls_act_for_all() -> None:
    async def play(stream: Stream, outboxes: Outboxes) -> None:
        one, other = Browser(outboxes), Browser(outboxes)
        assert (await one.frame())["title"].startswith("scene ")
        stream.obey(Command("pause"))
        for browser in (one, other):
            await browser.until(lambda message: message.get("running") is False)
        stream.obey(Command("step"))
        seen = [await browser.until(lambda message: message.get("number", 0) > 1) for browser in (one, other)]
        late = Browser(outboxes)
        assert (await late.until(lambda message: message["type"] == "state"))["running"] is False
        assert seen[0]["true_m"] and (await late.frame())["number"] >= seen[0]["number"]
        stream.obey(Command("show", "moving"))
        first, second = [await one.until(lambda message: message.get("moving") is True) for _ in range(2)]
        assert len(first["true_m"]) == len(second["true_m"])
        moved = np.linalg.norm(np.subtract(first["true_m"], second["true_m"]), axis=1)
        assert moved.min() > 0 and moved.max() < 0.2

    played(play, Scripted())


def test_paused_it_asks_nothing_and_a_step_asks_once() -> None:
    model = Scripted()

    async def play(stream: Stream, outboxes: Outboxes) -> None:
        browser = Browser(outboxes)
        stream.obey(Command("pause"))
        await browser.frame()  # was in progress
        while model.looked < 2:
            await asyncio.sleep(0.01)
        before = len(model.asked)
        stream.obey(Command("step"))
        await browser.frame()
        stream.obey(Command("step"))
        await browser.frame()
        assert len(model.asked) == before + 2

    played(play, model)


def test_a_server_that_was_away_is_asked_for_the_same_scene() -> None:
    model = Scripted(AWAY)

    async def play(stream: Stream, outboxes: Outboxes) -> None:
        browser = Browser(outboxes)
        said = await browser.until(lambda message: message.get("serving") is False)
        assert said["server_says"] == "Connection refused" and said["running"]
        assert (await browser.frame())["title"] == "scene 1"
        assert model.asked[0] is model.asked[1] and model.reopened == 1
        assert stream.state.serving is True

    played(play, model)


def test_a_scene_that_cannot_be_asked_for_stops_the_stream_in_one_line() -> None:
    async def play(stream: Stream, outboxes: Outboxes) -> None:
        browser = Browser(outboxes)
        said = await browser.until(lambda message: bool(message.get("note")))
        assert said["note"] == "channel: expected N = 6" and not said["running"]
        stream.obey(Command("start"))
        assert (await browser.frame())["true_m"]

    played(play, Scripted(ValueError("channel: expected N = 6")))


def measurement_file(path: Path, scenes: int = 2) -> Path:
    """Writes a measurement file for a scripted server."""
    ones = np.ones((scenes, 4, ANTENNAS), np.complex64)
    codes, channel = np.ones((4, ELEMENTS), np.complex64), np.ones((ANTENNAS, ELEMENTS), np.complex64)
    np.savez(path, snapshots=ones, ris_codes=codes, channel=channel, snr_db=np.full(scenes, 10.0, np.float32))
    return path


def test_a_file_is_shown_to_its_end_and_again(tmp_path: Path) -> None:
    """With the real client, first a server that rejects requests, then another one in its place."""
    scenes = FileScenes("monday.npz", MeasurementFile(measurement_file(tmp_path / "any.npz")))

    async def play(stream: Stream, outboxes: Outboxes) -> None:
        browser = Browser(outboxes)
        stream.show_file(scenes)
        for _ in range(2):
            for title in ("scene 1 of 2", "scene 2 of 2"):
                frame = await browser.frame()
                stream.obey(Command("start"))  # the first scene waits for it
                assert frame["title"] == title and frame["true_m"] is None
                assert [source["hit"] for source in frame["found"]] == [None]
            assert "last scene" in (await browser.until(lambda message: bool(message.get("note"))))["note"]
            stream.obey(Command("start"))

    with ScriptedServer(refusing(grpc.StatusCode.UNAVAILABLE, 1)) as server:
        model = Model(server.target, "any")
        played(play, model)
        model.close()


def test_a_scene_of_another_installation_is_refused(tmp_path: Path) -> None:
    with ScriptedServer(found) as server:
        model = Model(server.target, "any")

        async def play(stream: Stream, outboxes: Outboxes) -> None:
            said = await Browser(outboxes).until(lambda message: bool(message.get("note")))
            assert re.search(
                rf"expected that of the model any, got another one \(channel: .* M = {ANTENNAS} .* 16\)",
                said["note"],
            )

        played(play, model)
        model.close()


def test_a_model_that_is_closed_while_the_stream_looks_at_it_is_not_there() -> None:
    """Regression: an error from gRPC once ended the view."""
    model = Model("localhost:1", "ris_localizer")
    model.close()
    assert not model.ready()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Command("rate", 0), "rate: expected 0.2 to 50 Hz, got 0"),
        (Command("rate", "fast"), "rate: expected 0.2 to 50 Hz, got 'fast'"),
        (Command("rate", True), "rate: expected 0.2 to 50 Hz, got True"),
        (Command("show", "file"), "show: expected scenes, moving, or file after an upload, got 'file'"),
        (Command("spectrum", 1), "spectrum: expected true or false, got 1"),
        (Command("show", 3), "show: expected scenes, moving, or file after an upload, got 3"),
    ],
)
def test_commands_that_cannot_be(command: Command, says: str) -> None:
    async def play(stream: Stream, outboxes: Outboxes) -> None:
        with pytest.raises(ValueError) as error:
            stream.obey(command)
        assert str(error.value) == says

    played(play, Scripted())


def test_a_browser_that_does_not_read_misses_frames() -> None:
    async def play() -> None:
        outbox = Outbox()
        for number in range(100):
            outbox.put("frame", f"frame {number}")
            outbox.put("state", f"state {number}")
        got = [await outbox.take() for _ in range(1 + MOST_FRAMES)]
        assert got == ["state 99", *(f"frame {number}" for number in range(100 - MOST_FRAMES, 100))]

    asyncio.run(play())
