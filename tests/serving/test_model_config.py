"""Several models, version policies, labels: from a file, from a file that changes, by HandleReloadConfigRequest."""

import shutil
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server import main
from serving.server_process import wait_until
from tests.serving.in_process import InProcessServer, in_process_server
from tests.serving.servers import PATIENCE_S, answer_of, predict_request, refusal, serving, states, stubs

QUICK = ("--file_system_poll_wait_seconds=0.1", "--max_num_load_retries=0")
INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


def model(name: str, base_path: Path, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" {more} }}'


def config(*models: str) -> str:
    return f"model_config_list {{ {' '.join(models)} }}"


def reload_request(text: str) -> model_management_pb2.ReloadConfigRequest:
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return model_management_pb2.ReloadConfigRequest(config=parsed)


def reload(running: InProcessServer, text: str) -> None:
    with stubs(running.target) as (_, service):
        response = service.HandleReloadConfigRequest(reload_request(text), timeout=PATIENCE_S)
    assert response.status.error_code == 0


def refused(running: InProcessServer, text: str) -> tuple[grpc.StatusCode, str]:
    with stubs(running.target) as (_, service):
        return refusal(service.HandleReloadConfigRequest, reload_request(text))


ALL = "model_version_policy { all {} }"
LATEST_TWO = "model_version_policy { latest { num_versions: 2 } }"
FIRST = "model_version_policy { specific { versions: 1 } }"


def test_policies_labels_and_reloads(half_plus: Path, tmp_path: Path) -> None:
    """One server, for starting one takes seconds; each step builds on the one before."""
    shutil.copytree(half_plus / "1", tmp_path / "more" / "003")  # parses as version 3
    for version in ("1", "2"):
        shutil.copytree(half_plus / version, tmp_path / "more" / version)
    (tmp_path / "more" / "notes").mkdir()
    (tmp_path / "more" / "4").touch()  # no folder, no version
    file = tmp_path / "models.config"
    start = config(model("default", half_plus), model("all", tmp_path / "more", ALL),
                   model("two", tmp_path / "more", LATEST_TWO), model("first", half_plus, FIRST))  # fmt: skip
    file.write_text(start)
    with in_process_server(f"--model_config_file={file}", *QUICK) as running:
        wait_until(lambda: serving(running.target, "all") == {1, 2, 3})
        wait_until(lambda: serving(running.target, "two") == {2, 3})
        assert serving(running.target, "default") == {2}
        assert serving(running.target, "first") == {1}
        assert answer_of(running.target, predict_request("all", x=[2.0]))[0] == 3
        assert answer_of(running.target, predict_request("all", version=2, x=[2.0])) == (2, [3.0])

        # labels
        labelled = model("all", tmp_path / "more", f'{ALL} version_labels {{ key: "stable" value: 2 }}')
        reload(running, config(labelled, model("first", half_plus, FIRST)))
        assert answer_of(running.target, predict_request("all", label="stable", x=[2.0]))[0] == 2
        absent = model("all", tmp_path / "more", f'{ALL} version_labels {{ key: "stable" value: 9 }}')
        assert refused(running, config(absent)) == (
            PRECONDITION,
            "Request to assign label to version 9 of model all, which is not currently available for inference",
        )
        assert answer_of(running.target, predict_request("all", label="stable", x=[2.0]))[0] == 2

        # dropped models unload, new ones are waited for
        wait_until(lambda: states(running.target, "default")[2][0] == "END")
        expected = (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(default)")
        with stubs(running.target) as (prediction, _):
            assert refusal(prediction.Predict, predict_request("default", x=[2.0])) == expected
        reload(running, start)
        assert answer_of(running.target, predict_request("default", x=[2.0]))[0] == 2
        with stubs(running.target) as (prediction, _):
            code, text = refusal(prediction.Predict, predict_request("all", label="stable", x=[2.0]))
        assert (code, text) == (INVALID, "Unrecognized servable version label: stable")

        # what is refused changes nothing
        twice = config(model("default", half_plus), model("default", half_plus))
        assert refused(running, twice) == (INVALID, "Illegal to list model default multiple times in config list")
        assert refused(running, config(model("other", Path("relative/path")))) == (
            INVALID,
            "Expected model other to have an absolute path or URI; got base_path()=relative/path",
        )
        other = config(model("default", half_plus).replace("tensorflow", "other"))
        assert refused(running, other) == (
            INVALID,
            "Illegal to change a model's platform. For model default platform was tensorflow "
            "and new platform requested is other",
        )
        assert refused(running, "") == (
            INVALID,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        )
        (tmp_path / "broken" / "1").mkdir(parents=True)
        code, text = refused(running, config(model("default", half_plus), model("broken", tmp_path / "broken")))
        assert code == grpc.StatusCode.UNKNOWN
        assert text.startswith(
            "1 model(s) did not become available: {{{name: broken version: 1} due to error: NOT_FOUND"
        )
        assert serving(running.target, "default") == {2}


def test_the_file_is_looked_at_again_and_labels_may_wait(half_plus: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(config(model("old", half_plus, 'version_labels { key: "stable" value: 2 }')))
    flags = ("--model_config_file_poll_wait_seconds=1", "--allow_version_labels_for_unavailable_models")
    with in_process_server(f"--model_config_file={file}", *flags, *QUICK) as running:
        assert answer_of(running.target, predict_request("old", label="stable", x=[2.0]))[0] == 2
        moved = model("old", half_plus, 'version_labels { key: "stable" value: 1 }')
        code, _ = refused(running, config(moved))  # a label in use can't move to a version that does not serve
        assert code == PRECONDITION
        file.write_text("model_config_list {")
        wait_until(lambda: "Error parsing text-format" in running.log_text())
        assert answer_of(running.target, predict_request("old", x=[2.0]))[0] == 2
        file.write_text(config(model("new", half_plus, FIRST)))
        wait_until(lambda: "serving new version 1" in running.log_text())
        assert answer_of(running.target, predict_request("new", x=[2.0]))[0] == 1
        wait_until(lambda: states(running.target, "old")[2][0] == "END")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list { config { name: } }", "Error parsing text-format tensorflow.serving.ModelServerConfig: "),
        ("model_config_list { config { nane: 'x' } }", 'Message type "tensorflow.serving.ModelConfig" has no field'),
        (config('config { name: "m" base_path: "/x" }'), "Illegal setting neither ModelServerConfig::model_type"),
        (config('config { name: "m" base_path: "/x" model_platform: "tflite" }'),
         "Model m requests unsupported platform tflite"),
        (config(model("m", Path("/x"), 'version_labels { key: "a" value: 1 }')), "assign label to version 1"),
        ("", "Cannot transition to requested config."),
    ],
)  # fmt: skip
def test_files_that_start_no_server(tmp_path: Path, capsys: pytest.CaptureFixture, text: str, message: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main([f"--model_config_file={file}", "--port=0"])
    line = str(stopped.value.code)
    assert line.startswith("serving.model_server: Failed to start server. Error: ")
    assert message in line
    assert "\n" not in line
