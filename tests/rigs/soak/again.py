"""`python -m tests.rigs.soak.again FLAGS`: starts the model server again and again in one process.

SIGTERM stops a server. It prints whether it stopped well, how many calls it had accepted, and how many of them were
unanswered when it stopped accepting calls. Then the next server starts. The process runs until it is killed.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator

from serving.model_server import _announce, flag_parser
from serving.server.app import ModelServer
from serving.server.calls import Door
from serving.signals import on_signals


class CountingDoor(Door):
    """Counts calls. `accepted`: all accepted calls; `unfinished`: those still running when the door closed."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted = self.unfinished = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        with super().entered():
            self.accepted += 1
            yield

    async def drained(self, finish_s: float) -> bool:
        self.unfinished = self.inside
        return await super().drained(finish_s)


def main() -> None:
    """Command line entry point."""
    flags, stop = flag_parser().parse_args(), threading.Event()
    on_signals(lambda _: stop.set())
    while True:
        stop.clear()
        server, door = ModelServer(flags, _announce), CountingDoor()
        server._door = door
        how = "stopped well" if server.serve(stop) else "stopped with calls unfinished"
        print(f"{how}: {door.accepted} calls accepted, {door.unfinished} unfinished at the signal", flush=True)
        del server, door
        gc.collect()  # ends the idle threads of the deleted server


if __name__ == "__main__":
    main()
