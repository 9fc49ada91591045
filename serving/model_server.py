"""`python -m serving.model_server`: serves a SavedModel over gRPC with TF Serving's flags and answers."""

import argparse
import signal
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from serving.services import ModelService, PredictionService
from serving.versions import ModelVersions

_INT32_MAX = 2**31 - 1
_FINISH_S = 60.0


def parse_flags(argv: list[str] | None = None) -> argparse.Namespace:
    """TF Serving's flags, those that work here; an unknown one is an error."""
    parser = argparse.ArgumentParser(prog="python -m serving.model_server", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8500, help="TCP port for gRPC; 0 takes a free one")
    parser.add_argument("--model_name", default="default", help="name clients ask for")
    parser.add_argument("--model_base_path", type=Path, required=True, help="folder of numbered versions")
    parser.add_argument(
        "--file_system_poll_wait_seconds", type=float, default=1.0, help="time between looks for a new version"
    )
    parser.add_argument("--grpc_max_threads", type=int, default=8, help="requests worked on at a time")
    return parser.parse_args(argv)


def make_server(versions: ModelVersions, port: int, max_threads: int) -> tuple[grpc.Server, int]:
    """A server on all local addresses and the port it got.

    Raises:
      RuntimeError: the port is taken.
    """
    options = [
        ("grpc.max_receive_message_length", _INT32_MAX),
        ("grpc.max_send_message_length", _INT32_MAX),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(max_threads), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(versions), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(versions), server)
    return server, server.add_insecure_port(f"0.0.0.0:{port}")


def main(argv: list[str] | None = None) -> None:
    """Command line entry point."""
    flags = parse_flags(argv)
    if not flags.model_base_path.is_dir():
        sys.exit(f"serving.model_server: --model_base_path: expected a folder of versions, got {flags.model_base_path}")
    versions = ModelVersions(flags.model_name, flags.model_base_path)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server, port = make_server(versions, flags.port, flags.grpc_max_threads)
    except RuntimeError as error:
        sys.exit(f"serving.model_server: --port: {error}")
    served = None
    versions.poll()
    server.start()
    while not stop.is_set():
        if versions.serving_version != served:
            served = versions.serving_version
            print(f"serving {flags.model_name} version {served} on port {port}", flush=True)
        stop.wait(flags.file_system_poll_wait_seconds)
        versions.poll()
    server.stop(_FINISH_S).wait()


if __name__ == "__main__":
    main()
