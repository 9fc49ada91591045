"""`python -m tests.rigs.view_load`: measures the live view: page size, first paint, updates a second, CPU time, memory.

Needs chromium. The server uses the pretrained weights or a given model. The browser renders in software.
"""

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tyro
from playwright.sync_api import Browser, Page, sync_playwright

from pipeline.export.exporting import export
from pipeline.export.options import ExportOptions
from serving.server_process import PATIENCE_S, ServerProcess, server_process, wait_until
from tests.view_process import ViewProcess, view_process

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
    """Folder of exported versions, named ris_localizer; default: the pretrained weights are exported."""
    seconds: int = 60
    """Duration of the measurement, seconds, after ten seconds of warm-up."""
    rate_hz: float = 10.0
    """Scenes a second."""
    spectrum: bool = True
    """Whether the view also requests spectra."""


def heap_bytes(page: Page) -> int:
    """Returns the JavaScript heap of the page after a garbage collection, bytes."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return int(used)


@dataclasses.dataclass(frozen=True)
class Costs:
    """CPU time and memory of view, model server and browser.

    cpu_s: CPU time so far, seconds; depends little on other load of the machine. memory_bytes: current memory, with
    shared pages counted once.
    """

    cpu_s: dict[str, float]
    memory_bytes: dict[str, int]


def costs(browser: Browser, view: ViewProcess, server: ServerProcess) -> Costs:
    """Returns the current costs; those of the browser cover all its processes."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    pids = {"view": [view.process.pid], "server": [server.process.pid], "browser": [one["id"] for one in found]}
    return Costs(
        {name: sum(map(cpu_s, of)) for name, of in pids.items()},
        {name: sum(map(memory_bytes, of)) for name, of in pids.items()},
    )


def cpu_s(pid: int) -> float:
    """Returns the CPU time of a process so far, seconds."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """Returns the memory of a process (proportional set size), bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def measured(page: Page, now: Callable[[], Costs], seconds: int) -> None:
    """Prints a line every ten seconds, and at the end the mean CPU time of an update."""
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print("     s   updates/s   drawn/s   view MB   server MB   browser MB   JS heap MB")
    began, updates = now(), 0
    for tens in range(1, seconds // 10 + 1):
        before, drawn_before, started = page.evaluate("updates"), drawn(page), time.monotonic()
        page.wait_for_timeout(10_000)
        passed_s = time.monotonic() - started
        done, pictures = page.evaluate("updates") - before, drawn(page) - drawn_before
        updates += done
        memory = "".join(f"{now().memory_bytes[name] / 1e6:12.1f}" for name in ("view", "server", "browser"))
        heap = heap_bytes(page) / 1e6
        print(f"{10 * tens:6} {done / passed_s:11.1f} {pictures / passed_s:9.1f}{memory} {heap:12.1f}")
    spent = {name: 1e3 * (ended - began.cpu_s[name]) / updates for name, ended in now().cpu_s.items()}
    print("CPU an update: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in spent.items()))
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


def drawn(page: Page) -> int:
    """Returns how many pictures of the scene have been drawn."""
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
            export(ExportOptions(base))
        flags = (f"--model_name={_MODEL}", f"--model_base_path={base.absolute()}")
        server = stack.enter_context(server_process(*flags, killed_with_parent=True))
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
        measured(page, lambda: costs(browser, view, server), options.seconds)
        print(f"status at SIGTERM: {view.end()}")


if __name__ == "__main__":
    main()
