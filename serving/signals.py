"""Signals that are heard whatever the main thread does."""

import os
import signal
import threading
from collections.abc import Callable


def on_signals(act: Callable[[int], None]) -> None:
    """Calls `act` with SIGTERM and with SIGINT, each time one comes, in a thread of its own.

    Python would call it in the main thread, between two of its steps: where that is about to sleep until an event is
    set, it would sleep on, and where it holds the event's lock, `act` would wait for it for ever. So the number comes
    through a pipe.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def listen() -> None:
        while True:
            act(os.read(heard, 1)[0])

    threading.Thread(target=listen, name="signals", daemon=True).start()
