"""`python -m tests.rigs.soak.again FLAGS`: starts the model server again and again in one process.

SIGTERM stops a server. The process prints whether it stopped well, how many calls it had accepted and how many of them
were unfinished at the signal, and starts the next server. It runs until it is killed.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator

from serving.model_server import _announce, flag_parser
from serving.server.app import ModelServer
from serving.server.calls import CallGate
from serving.signals import on_signals


class CountingGate(CallGate):
    """Counts calls. `accepted`: calls so far; `unfinished`: those of them that were active when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted = self.unfinished = 0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        with super().admit():
            self.accepted += 1
            yield

    async def drain(self, timeout_s: float) -> bool:
        self.unfinished = self.active
        return await super().drain(timeout_s)


def main() -> None:
    """Command line entry point."""
    flags, stop = flag_parser().parse_args(), threading.Event()
    on_signals(lambda _: stop.set())
    while True:
        stop.clear()
        server, gate = ModelServer(flags, _announce), CountingGate()
        server._gate = gate
        how = "stopped well" if server.serve(stop) else "stopped with calls unfinished"
        print(f"{how}: {gate.accepted} calls accepted, {gate.unfinished} unfinished at the signal", flush=True)
        del server, gate
        gc.collect()  # idle threads end with the server that had them


if __name__ == "__main__":
    main()
