"""Flags in TF Serving's forms, and failed starts with one-line messages."""

from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.model_server import flag_parser, main
from tests.serving.in_process import InProcessServer, in_process_server
from tests.serving.servers import answer_of, predict_request, refusal, stubs


def test_both_ways_to_give_a_value() -> None:
    flags = flag_parser().parse_args(["--port=1234", "--model_name", "m", "--rest_api_port", "5"])
    assert (flags.port, flags.model_name, flags.rest_api_port) == (1234, "m", 5)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ([], False), (["--enable_batching"], True), (["--enable_batching=true"], True), (["--enable_batching=1"], True),
        (["--enable_batching=false"], False), (["--enable_batching", "--port=1"], True),
    ],
)  # fmt: skip
def test_booleans(argument: list[str], expected: bool) -> None:
    assert flag_parser().parse_args(argument).enable_batching is expected


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--model_nane=x", "unrecognized arguments: --model_nane=x"),
        ("--model_bas=x", "unrecognized arguments: --model_bas=x"),
        ("--port=http", "argument --port: expected an integer from 0 to 65535, got 'http'"),
        ("--rest_api_port=65536", "argument --rest_api_port: expected an integer from -1 to 65535, got '65536'"),
        ("--enable_batching=maybe", "argument --enable_batching: expected true or false, got 'maybe'"),
        ("--grpc_max_threads=0", "argument --grpc_max_threads: expected an integer from 1 to 2147483647, got '0'"),
    ],
)
def test_wrong_flags_are_named(argument: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([argument])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("TensorFlow ModelServer: ")
    assert second.startswith("TensorFlow Library: 2.")


def failure(*flags: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["--port=0", *flags])
    line = str(stopped.value.code)
    assert "\n" not in line
    return line


def test_starts_that_fail(half_plus: Path, tmp_path: Path) -> None:
    base = f"--model_base_path={half_plus}"
    for flags, text in (
        ((), "--model_base_path: expected a folder of versions, or --model_config_file, got neither"),
        ((f"--model_base_path={tmp_path / 'none'}",), f"expected a folder of versions, got {tmp_path / 'none'}"),
        ((base, "--grpc_channel_arguments=grpc.max_connection_age_ms"), "--grpc_channel_arguments: expected KEY=VALUE"),
        ((f"--model_config_file={tmp_path / 'none'}",), "expected a text file of tensorflow.serving.ModelServerConfig"),
    ):
        assert text in failure(*flags)


def test_a_model_that_does_not_load_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "model" / "1").mkdir(parents=True)
    line = failure(f"--model_base_path={tmp_path / 'model'}", "--max_num_load_retries=0")
    assert "1 model(s) did not become available: {{{name: default version: 1} due to error: NOT_FOUND: " in line


def test_a_port_that_is_taken_is_named(half_plus: Path, shared_server: InProcessServer) -> None:
    line = failure(f"--port={shared_server.port}", f"--model_base_path={half_plus}")
    assert line.startswith("serving.model_server: --port: ")
    assert str(shared_server.port) in line


def test_a_unix_socket_the_default_name_and_arguments_for_grpc(half_plus: Path, tmp_path: Path) -> None:
    arguments = "--grpc_channel_arguments=grpc.max_receive_message_length=1048576,grpc.lb_policy_name=grpclb"
    with in_process_server(f"--model_base_path={half_plus}", f"--grpc_socket_path={tmp_path}/s", arguments) as running:
        for target in (running.target, f"unix:{tmp_path}/s"):
            assert answer_of(target, predict_request("default", x=[2.0])) == (2, [3.0])
            with stubs(target) as (prediction, _):
                code, text = refusal(prediction.Predict, predict_request("default", x=np.zeros(2**18, np.float32)))
            assert (code, "larger than max" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
