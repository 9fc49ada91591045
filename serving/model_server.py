"""`python -m serving.model_server`: serves SavedModels over gRPC and REST with TF Serving's flags and answers."""

import contextlib
import importlib.metadata
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from serving.server.flags import parse_flags


def _show_versions() -> None:
    version = importlib.metadata.version
    print(
        f"TensorFlow ModelServer: API {version('tensorflow-serving-api')}, embedded in ris-mvdr {version('ris-mvdr')}"
    )
    print(f"TensorFlow Library: {version('tensorflow')}")


def _announce(name: str, version: int, port: int | None) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more
        print(f"serving {name} version {version} on port {port}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    flags = parse_flags(argv)
    if flags.version:
        _show_versions()
        return
    # TensorFlow takes seconds to import: only once the flags are right.
    from serving.server.app import ModelServer
    from serving.server.errors import ServingError

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, level=logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = ModelServer(flags, _announce)
        server.serve(stop)
    except ServingError as error:
        sys.exit(f"serving.model_server: Failed to start server. Error: {error}")
    except RuntimeError as error:
        sys.exit(f"serving.model_server: {error}")


if __name__ == "__main__":
    main()
