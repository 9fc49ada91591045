"""`python -m tests.rigs.soak.again FLAGS`: the model server again and again in one process.

SIGTERM stops a server; it says how that went, and the next one starts. The process goes on until it is killed.
"""

import gc
import signal
import threading

from serving.model_server import _announce, flag_parser
from serving.server.app import ModelServer


def main() -> None:
    """Command line entry point."""
    flags, stop = flag_parser().parse_args(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while True:
        stop.clear()
        finished = ModelServer(flags, _announce).serve(stop)
        print("stopped well" if finished else "stopped with calls unfinished", flush=True)
        gc.collect()  # idle threads end with the server that had them


if __name__ == "__main__":
    main()
