"""TF Serving's command line flags."""

import argparse
from collections.abc import Callable, Sequence

_DEFAULTS = argparse.ArgumentDefaultsHelpFormatter


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
    """The flags that work here, with TF Serving's names, meanings and defaults; any other is an error."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_server",
        description="Serves SavedModels over gRPC and REST with TF Serving's flags and answers.",
        allow_abbrev=False,
        formatter_class=_DEFAULTS,
    )

    def flag(name: str, default: object, help_text: str, **more: object) -> None:
        if isinstance(default, bool):
            more |= {"nargs": "?", "const": True, "type": _boolean}
        parser.add_argument(f"--{name}", default=default, help=help_text, **more)  # type: ignore[arg-type]

    port = _integer(0, 65535)
    flag("port", 8500, "TCP port for gRPC; 0 takes a free one (in TF Serving, none)", type=port)
    flag("grpc_socket_path", "", "UNIX socket for gRPC, if any")
    flag("rest_api_port", 0, "TCP port for REST, different from --port; 0 serves no REST", type=port)
    flag("rest_api_num_threads", None, "REST requests worked on at a time; if left out, 16 or four times the CPUs",
         type=_integer(1))  # fmt: skip
    flag("rest_api_timeout_in_ms", 30000, "time a REST client has to send its request", type=_integer(1))
    flag("model_name", "default", "name clients ask for; not used with --model_config_file")
    flag("model_base_path", "", "folder of numbered versions; needed without --model_config_file")
    flag("model_config_file", "", "text ModelServerConfig: several models, version policies, labels")
    flag("model_config_file_poll_wait_seconds", 0, "time between looks at --model_config_file; 0 looks once", type=int)
    flag("file_system_poll_wait_seconds", 1, "time between looks for versions; 0 looks once, less never", type=float)
    flag("max_num_load_retries", 5, "how often a failed load is tried again", type=_integer(0))
    flag("load_retry_interval_micros", 60_000_000, "time between tries, microseconds", type=int)
    flag("allow_version_labels_for_unavailable_models", False, "labels may be given to versions not yet serving")
    flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests before a version serves")
    flag("enable_batching", False, "run requests that come together as one batch")
    flag("batching_parameters_file", "", "text BatchingParameters; needs --enable_batching")
    flag("monitoring_config_file", "", "text MonitoringConfig: Prometheus metrics on the REST port")
    flag("ssl_config_file", "", "text SSLConfig: TLS for gRPC, mutual with client_verify")
    flag("grpc_channel_arguments", "", "KEY=VALUE,... for the gRPC server, such as grpc.max_connection_age_ms=2000")
    flag("grpc_max_threads", None, "gRPC requests worked on at a time; if left out, 16 or four times the CPUs",
         type=_integer(1))  # fmt: skip
    flag("version", False, "show versions and stop")
    return parser


def parse_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parsed flags; a wrong one ends the program with a line on it."""
    return flag_parser().parse_args(argv)
