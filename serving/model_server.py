"""`python -m serving.model_server`: serves SavedModels over gRPC and REST, compatible with TF Serving."""

import argparse
import contextlib
import importlib.metadata
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from models.lean_start import start_lean
from serving.quiet import quiet_tensorflow
from serving.signals import on_signals


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return values[text.lower()]


def _integer(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    def number(text: str) -> int:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"expected an integer from {least} to {most}, got {text!r}")
        return int(text)

    return number


def flag_parser() -> argparse.ArgumentParser:
    """Returns the parser: the supported flags with TF Serving's names, meanings and defaults. Others are errors."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_server",
        description="Serves SavedModels over gRPC and REST. Flags and answers are those of TF Serving.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def flag(name: str, default: object, help_text: str, **more: Any) -> None:
        if isinstance(default, bool):
            more |= {"nargs": "?", "const": True, "type": _boolean}
        parser.add_argument(f"--{name}", default=default, help=help_text, **more)

    flag("port", 8500, "TCP port for gRPC; 0 takes a free port (in TF Serving: no TCP port)", type=_integer(0, 65535))
    flag("grpc_socket_path", "", "path of an additional UNIX socket for gRPC; empty for none")
    flag("rest_api_port", 0, "TCP port for REST, different from --port; 0 disables REST; -1 takes a free port (not in "
         "TF Serving)", type=_integer(-1, 65535))  # fmt: skip
    flag("rest_api_num_threads", None, "REST requests that run at a time; by default 16, or 4 per CPU if more",
         type=_integer(1))  # fmt: skip
    flag("rest_api_timeout_in_ms", 30000, "time limit of a REST call after its headers, ms", type=_integer(1))
    flag("model_name", "default", "name of the model in requests; ignored with --model_config_file")
    flag("model_base_path", "", "folder of numbered versions; required without --model_config_file")
    flag("model_config_file", "", "ModelServerConfig in text format: several models, version policies, labels")
    flag("model_config_file_poll_wait_seconds", 0, "time between reads of --model_config_file; 0: once", type=int)
    flag("file_system_poll_wait_seconds", 1, "time between polls for versions; 0: once; negative: never", type=float)
    flag("max_num_load_retries", 5, "retries of a failed load", type=_integer(0))
    flag("load_retry_interval_micros", 60_000_000, "time between attempts to load, microseconds", type=int)
    flag("allow_version_labels_for_unavailable_models", False, "allow labels for versions that do not serve yet")
    flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests before a version serves")
    flag("enable_batching", False, "run concurrent requests together as one batch")
    flag("batching_parameters_file", "", "BatchingParameters in text format; requires --enable_batching")
    flag("monitoring_config_file", "", "MonitoringConfig in text format: Prometheus metrics on the REST port")
    flag("ssl_config_file", "", "SSLConfig in text format: TLS for gRPC, mutual TLS with client_verify")
    flag("grpc_channel_arguments", "", "gRPC options KEY=VALUE,..., such as grpc.max_connection_age_ms=2000")
    flag("grpc_max_threads", None, "gRPC requests that run at a time; by default 16, or 4 per CPU if more",
         type=_integer(1))  # fmt: skip
    flag("enable_grpc_healthcheck_service", False, "offer grpc.health.v1.Health on the gRPC port")
    flag("version", False, "print versions and exit")
    return parser


def _show_versions() -> None:
    version = importlib.metadata.version
    print(
        f"TensorFlow ModelServer: API {version('tensorflow-serving-api')}, embedded in ris-mvdr {version('ris-mvdr')}"
    )
    print(f"TensorFlow Library: {version('tensorflow')}")


def _announce(name: str, version: int, port: int, rest_port: int | None) -> None:
    rest = "" if rest_port is None else f", REST on port {rest_port}"
    with contextlib.suppress(OSError):  # nobody reads the output
        print(f"serving {name} version {version} on port {port}{rest}", flush=True)


def _stopped_by_signals() -> threading.Event:
    """Returns an event that SIGTERM or SIGINT sets. A second signal ends the process at once."""
    stop = threading.Event()

    def request_stop(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    on_signals(request_stop)
    return stop


def main(argv: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    flags = flag_parser().parse_args(argv)
    if flags.version:
        _show_versions()
        return
    # TensorFlow takes seconds to import, so wrong flags are reported first.
    start_lean()
    with quiet_tensorflow():
        from serving.server.app import ModelServer
        from serving.server.calls import ServingError

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, level=logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    stop = _stopped_by_signals()
    try:
        finished = ModelServer(flags, _announce).serve(stop)
    except ServingError as error:
        sys.exit(f"serving.model_server: Failed to start server. Error: {error}")
    except RuntimeError as error:
        sys.exit(f"serving.model_server: {error}")
    logging.shutdown()
    os._exit(0 if finished else 1)  # a normal exit would wait for stuck threads and for TensorFlow


if __name__ == "__main__":
    main()
