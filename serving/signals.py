"""Signal handlers that run at once, whatever the main thread does."""

import os
import signal
import threading
from collections.abc import Callable


def on_signals(handler: Callable[[int], None]) -> None:
    """Calls `handler` with the number of each SIGTERM and SIGINT, in a separate thread.

    Python runs ordinary handlers in the main thread, between two instructions. If the main thread is about to wait for
    an event, it waits although the handler sets the event. If it holds the event's lock, the handler blocks for ever.
    Here the number reaches a separate thread through a pipe.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def listen() -> None:
        while True:
            handler(os.read(read_end, 1)[0])

    threading.Thread(target=listen, name="signals", daemon=True).start()
