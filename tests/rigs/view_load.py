"""`python -m tests.rigs.view_load`: weight and first paint of the live view, updates a second, memory over a minute.

Needs chromium. The server runs the shipped weights, or a model of your own; the browser draws in software.
"""

import contextlib
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

import tyro
from playwright.sync_api import Page, sync_playwright

from models.weights import PRETRAINED
from pipeline.export import ExportOptions
from pipeline.release.exporting import export
from serving.server_process import PATIENCE_S, server_process, wait_until
from tests.view_process import view_process

_MODEL = "ris_localizer"
_COUNT_FRAMES = """
window.updates = 0;
addEventListener("DOMContentLoaded", () => {
  const count = () => { window.updates += 1; };
  new MutationObserver(count).observe(document.getElementById("title"), { childList: true, characterData: true });
});
"""


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """Measures the live view under load."""

    model_base_path: Path | None = None
    """Folder of exported versions, named ris_localizer; left out, the shipped weights are exported."""
    seconds: int = 60
    """How long, after ten seconds to warm up."""
    rate_hz: float = 10.0
    """Scenes a second."""
    spectrum: bool = True
    """Whether spectra are asked for, too."""


def heap_bytes(page: Page) -> int:
    """What the page's JavaScript holds, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return int(used)


def measured(page: Page, rss_bytes, seconds: int) -> None:
    """A line every ten seconds."""
    print("     s   updates/s   drawn/s   view MB   JS heap MB")
    before, drawn_before, started = page.evaluate("updates"), drawn(page), time.monotonic()
    for tens in range(1, seconds // 10 + 1):
        page.wait_for_timeout(10_000)
        now, drawn_now, passed_s = page.evaluate("updates"), drawn(page), time.monotonic() - started
        rates = (now - before) / passed_s, (drawn_now - drawn_before) / passed_s
        print(f"{10 * tens:6} {rates[0]:10.1f} {rates[1]:9.1f} {rss_bytes() / 1e6:9.1f} {heap_bytes(page) / 1e6:12.1f}")
        before, drawn_before, started = page.evaluate("updates"), drawn(page), time.monotonic()


def drawn(page: Page) -> int:
    """Pictures in 3-D that were drawn so far."""
    return int(page.evaluate("document.getElementById('space').dataset.drawn ?? 0"))


def main() -> None:
    """Command line entry point."""
    options = tyro.cli(LoadOptions, prog="python -m tests.rigs.view_load")
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("view_load: expected chromium on the PATH, found none")
    with contextlib.ExitStack() as stack:
        base = options.model_base_path
        if base is None:
            base = Path(stack.enter_context(tempfile.TemporaryDirectory())) / _MODEL
            export(ExportOptions(base, PRETRAINED))
        flags = (f"--model_name={_MODEL}", f"--model_base_path={base.absolute()}")
        server = stack.enter_context(server_process(*flags, leave_none=True))
        rate = ("--rate-hz", f"{options.rate_hz:g}", "--show", "moving")
        view = stack.enter_context(view_process("--target", server.target, *rate))
        playwright = stack.enter_context(sync_playwright())
        arguments = ["--no-sandbox", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(_COUNT_FRAMES)
        sizes: list[int] = []
        page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", 0))))
        page.goto(view.url)
        wait_until(lambda: bool(page.evaluate("updates") > 0), PATIENCE_S)
        paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        print(f"page {sum(sizes) / 1e6:.2f} MB, first paint {page.evaluate(paint):.0f} ms")
        if not options.spectrum:
            page.uncheck("#spectrum-on")
        page.wait_for_timeout(10_000)
        measured(page, view.resident_bytes, options.seconds)
        print(f"status at SIGTERM: {view.end()}")


if __name__ == "__main__":
    main()
