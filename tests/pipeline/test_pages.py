"""The report and the live view in headless Chromium, and the view as a process: what it shows and whom it rejects.

There is one model server and one view. A relay connects them; without it the view cannot reach the server. No test
measures time; the long time-outs of the browser are for busy machines.
"""

import contextlib
import http.client
import json
import logging
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline.report.builder import write_report
from pipeline.report.options import ReportOptions
from serving.server_process import PATIENCE_S, wait_until
from tests.conftest import Served
from tests.estimates import noisy, random_scenes
from tests.evaluation_folder import SCENES, leave_evaluation
from tests.serving.ports import held_port
from tests.serving.relay import Relay
from tests.simulated import batch_of, inputs_of, loud
from tests.view_process import ViewProcess, view_process

CHROMIUM = shutil.which("chromium")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: pages are not opened in a browser")
expect.set_options(timeout=1e3 * PATIENCE_S)
DATA = """figures => figures.map(figure =>
  figure.data.filter(trace => [trace.x, trace.y, trace.z].some(values => values?.length)).length)"""
SHADES = """picture => {
  const { width, height } = picture.querySelector("canvas");
  const { data } = picture.querySelector("canvas").getContext("2d").getImageData(0, 0, width, height);
  const shades = {};
  new Uint32Array(data.buffer).forEach(value => { shades[value] = (shades[value] ?? 0) + 1; });
  return Object.entries(shades).map(([value, count]) =>
    [(value & 255) << 16 | (value >> 8 & 255) << 8 | value >> 16 & 255, count]);
}"""
INK, HIT, MISS = 0x222222, 0x0072B2, 0xD55E00


@pytest.fixture(scope="module")
def away() -> Iterator[tuple[str, int]]:
    """HOST:PORT without a server, and the port."""
    with held_port(shared=True) as held:
        yield held.target, held.port


@pytest.fixture(scope="module")
def view(away: tuple[str, int]) -> Iterator[ViewProcess]:
    """A view that starts before its server. SIGTERM ends it with status 0."""
    with view_process("--target", away[0], "--rate-hz", "1", "--upload-mb", "1") as running:
        yield running
        assert running.end() == 0


@pytest.fixture(scope="module")
def upstream(tiny_server: Served) -> str:
    """A model server in another process."""
    return tiny_server.target


@contextlib.contextmanager
def serving(away: tuple[str, int], upstream: str) -> Iterator[None]:
    """Forwards the address that the view uses to the server."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("0.0.0.0", away[1]))
        with Relay(upstream, held=listening):
            yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


class Watched:
    """An open page, its console messages except those of software rendering, and the hosts of its requests."""

    def __init__(self, page: Page) -> None:
        self.page, self.said, self.asked = page, list[str](), set[str]()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._see)
        page.on("websocket", lambda socket: self.asked.add(urlsplit(socket.url).netloc))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.said.append(message.text)

    def _see(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob"):
            self.asked.add(place.netloc or place.scheme)


@contextlib.contextmanager
def opened(browser: Browser, url: str, width: int = 640) -> Iterator[Watched]:
    with contextlib.closing(browser.new_page(viewport={"width": width, "height": 400})) as page:
        watched = Watched(page)
        page.goto(url)
        yield watched


def shades(page: Page, figure: str) -> dict[int, int]:
    """Number of pixels of each colour, 0xRRGGBB."""
    return dict(page.locator(figure).evaluate(SHADES))


def drawn(page: Page, figure: str, past: int = 0) -> int:
    """Waits for a frame later than `past` and returns its number."""
    later = re.compile(rf"^(?!(?:{'|'.join(map(str, range(past + 1)))})$)\d+$")
    expect(page.locator(figure)).to_have_attribute("data-frame", later)
    return int(page.locator(figure).get_attribute("data-frame") or 0)


@pytest.mark.extended
@in_browser
def test_the_report_opens(browser: Browser, tmp_path: Path) -> None:
    leave_evaluation(tmp_path, noisy(random_scenes(SCENES, 1), 2))
    path = write_report(ReportOptions(tmp_path, scenes=1), logging.getLogger("test"))
    with opened(browser, path.as_uri()) as watched:
        expect(watched.page.locator("html")).to_have_attribute("data-drawn", "all")
        filled = watched.page.locator(".plot").evaluate_all(DATA)
        assert len(filled) > 6 and min(filled) > 0
        assert watched.page.locator(".space.drawn canvas").count() > 0
        assert watched.said == [] and watched.asked == {"file"}


@pytest.mark.extended
@in_browser
def test_the_view_waits_for_its_server_and_goes_on_by_itself(
    view: ViewProcess, away: tuple[str, int], upstream: str, browser: Browser
) -> None:
    with opened(browser, view.url) as watched:
        page, server = watched.page, watched.page.locator("#server")
        expect(server).to_contain_text(f"waiting for {away[0]}")
        with serving(away, upstream):
            expect(server).to_have_text(f"{away[0]} answers")
            number = drawn(page, "#space")
            drawn(page, "#spectrum")
            assert len(shades(page, "#spectrum")) > 20 and shades(page, "#spectrum")[MISS] > 10
            in_space = shades(page, "#space")
            assert in_space[INK] > 100 and in_space.get(HIT, 0) + in_space.get(MISS, 0) > 10
            expect(page.locator("#num-true")).to_have_text(re.compile("^[1-5]$"))
            expect(page.locator("#latency")).to_have_text(re.compile(r"^\d+ ms$"))
        expect(server).to_contain_text("waiting for")
        with serving(away, upstream):
            drawn(page, "#space", past=number)
        assert watched.said == []
        assert watched.asked == {f"127.0.0.1:{view.port}"}


@pytest.mark.extended
@in_browser
def test_two_browsers_one_of_them_narrow(
    view: ViewProcess, away: tuple[str, int], upstream: str, browser: Browser
) -> None:
    with (
        serving(away, upstream),
        opened(browser, view.url) as one,
        opened(browser, view.url, 390) as other,
    ):
        one.page.click("[data-show=moving]")
        expect(other.page.locator("[data-show=moving]")).to_have_attribute("aria-pressed", "true")
        other.page.click("#run")
        for page in (one.page, other.page):
            expect(page.locator("#run")).to_have_text("Start")
        other.page.click("#step")
        number = drawn(other.page, "#space")
        assert other.page.evaluate("document.documentElement.scrollWidth") <= 390
        one.page.click("#step")
        one_at, other_at = (drawn(page, "#space", number) for page in (one.page, other.page))
        while one_at != other_at:  # one browser may receive a frame sent before the pause
            last = max(one_at, other_at)
            one_at, other_at = (drawn(page, "#space", last - 1) for page in (one.page, other.page))
        seen = shades(one.page, "#space")
        one.page.locator("#space").drag_to(one.page.locator("#title"))
        wait_until(lambda: shades(one.page, "#space") != seen, PATIENCE_S)
        one.page.click("#run")
        expect(other.page.locator("#run")).to_have_text("Pause")
        assert one.said == other.said == []


@pytest.mark.extended
@in_browser
def test_a_dropped_file_appears_as_sources_and_a_bad_one_as_a_line(
    view: ViewProcess, away: tuple[str, int], upstream: str, browser: Browser, tmp_path: Path
) -> None:
    batch = batch_of(1, loud())
    np.savez(tmp_path / "loud.npz", **inputs_of(batch))
    drop = """async ([name, bytes]) => {
      const dropped = new DataTransfer();
      dropped.items.add(new File([Uint8Array.from(bytes)], name));
      dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, cancelable: true }));
    }"""
    with serving(away, upstream), opened(browser, view.url) as watched:
        page = watched.page
        expect(page.locator("#server")).to_contain_text("answers")
        page.evaluate(drop, ["loud.npz", list((tmp_path / "loud.npz").read_bytes())])
        expect(page.locator("#title")).to_have_text("scene 1 of 1")
        page.click("#run")
        expect(page.locator("#note")).to_contain_text("last scene")
        rows = page.locator("#sources tbody tr:not([aria-hidden])")
        expect(rows).to_have_count(int(batch["num_sources"][0]))
        ranges_m = sorted(float(text.split()[0]) for text in rows.locator("td:nth-child(4)").all_inner_texts())
        np.testing.assert_allclose(ranges_m, np.sort(batch["range_m"][0, : rows.count()]), atol=1.0)
        expect(page.locator("#num-true")).to_have_text("\N{EN DASH}")
        assert watched.said == []
        page.evaluate(drop, ["<b>bad.npz", [1, 2, 3]])
        expect(page.locator("#note")).to_contain_text("<b>bad.npz: expected a whole .npz file of number arrays")
        expect(page.locator("#num-found")).to_have_text(str(rows.count()))


def answer(view: ViewProcess, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", view.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@pytest.mark.extended
def test_pages_keep_to_themselves(view: ViewProcess) -> None:
    for path in ("/", "/view.js", "/view.css", "/nowhere"):
        status, headers, content = answer(view, "GET", path)
        assert status == (404 if path == "/nowhere" else 200) and content
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        assert not re.search(rb"""(?:src|href)=["']?(?:https?:)?//""", content)


@pytest.mark.extended
def test_strangers_are_refused(view: ViewProcess) -> None:
    here = f"http://127.0.0.1:{view.port}"
    assert answer(view, "GET", "/", Host="evil.example")[0] == 403
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}):
        assert answer(view, "POST", "/measurement", b"x", **origin)[0] == 403
        with pytest.raises(InvalidStatus):
            stream(view, origin.get("Origin"))
    assert answer(view, "POST", "/measurement?name=a.npz", b"x", Origin=here)[0] == 400


def stream(view: ViewProcess, origin: str | None) -> ClientConnection:
    url = f"ws://127.0.0.1:{view.port}/stream"
    return connect(url, origin=origin, open_timeout=PATIENCE_S, max_size=None)  # type: ignore[arg-type]


@pytest.mark.extended
def test_too_large_a_file_is_refused_in_one_line(view: ViewProcess) -> None:
    here = f"http://127.0.0.1:{view.port}"
    status, _, content = answer(view, "POST", "/measurement?name=large.npz", bytes(10**6 + 1), Origin=here)
    assert status == 413
    assert json.loads(content) == {"says": "large.npz: expected at most 1 MB (--upload-mb)"}


@pytest.mark.extended
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ('{"do": "fly"}', "do: Input should be 'start', 'pause', 'step', 'show', 'rate' or 'spectrum'"),
        ("{", "command: Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ('{"do": "rate", "value": "x"}', "rate: expected 0.2 to 50 Hz, got 'x'"),
    ],
)
def test_nonsense_is_answered_to_who_sent_it(view: ViewProcess, command: str, says: str) -> None:
    with stream(view, f"http://127.0.0.1:{view.port}") as socket:
        socket.send(command)
        while (message := json.loads(socket.recv(PATIENCE_S)))["type"] != "error":
            pass
        assert message["says"] == says


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--rate-hz", "0"), "--rate-hz: expected 0.2 to 50, got 0"),
        (("--port", "70000"), "--port: expected 0 to 65535, got 70000"),
        (("--upload-mb", "0"), "--upload-mb: expected 1 or more, got 0"),
        (("--config", "l64_m65"), "config: expected one of "),
        (("--host", "192.0.2.1"), "--host, --port: expected an available address, got 192.0.2.1:8600: "),
    ],
)
def test_options_that_cannot_be(refused, options: tuple[str, ...], says: str) -> None:
    assert refused("view", "--target", "localhost:1", *options).startswith(says)
