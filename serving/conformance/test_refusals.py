"""Codes and messages of requests that a server refuses, as TF Serving words them."""

import re
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_management_pb2, model_pb2, predict_pb2

from serving.conformance.conftest import INVALID, MISSING, predict_request

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NAMES = "{channel,ris_codes,snapshots,snr_db}"


def test_a_request_without_model_spec(prediction, refusal) -> None:
    assert refusal(prediction.Predict, predict_pb2.PredictRequest()) == (INVALID, "Missing ModelSpec")


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"name": "", "signature_name": "serving_default"}, INVALID, "ModelSpec has no name specified."),
        ({"name": "no_such_model"}, MISSING, "Servable not found for request: Latest(no_such_model)"),
        ({"version": {"value": 7}}, MISSING, "Servable not found for request: Specific({model}, 7)"),
        ({"version_label": "no_such_label"}, INVALID, "Unrecognized servable version label: no_such_label"),
        ({"signature_name": "no_such_signature"}, PRECONDITION, 'Serving signature key "no_such_signature" not found.'),
    ],
)
def test_a_model_spec_of_what_is_not_there(
    prediction, refusal, inputs, model_name: str, spec: dict, code: grpc.StatusCode, message: str
) -> None:
    request = predict_request(model_name, inputs)
    request.model_spec.CopyFrom(model_pb2.ModelSpec(**{"name": model_name, **spec}))
    assert refusal(prediction.Predict, request) == (code, message.format(model=model_name))


def test_a_long_message_is_cut(prediction, refusal, inputs, model_name: str) -> None:
    name = 1500 * "s"
    code, message = refusal(prediction.Predict, predict_request(model_name, inputs, name))
    assert code == PRECONDITION
    assert message == f'Serving signature key "{name}" not found.'[:1024] + "...TRUNCATED"


def test_missing_and_extra_inputs(prediction, refusal, inputs, model_name: str) -> None:
    fewer = predict_request(model_name, {"snr_db": inputs["snr_db"]})
    assert refusal(prediction.Predict, fewer) == (
        INVALID,
        f"input size does not match signature: 1!=4 len({{snr_db}}) != len({NAMES}). "
        "Sent extra: {}. Missing but required: {channel,ris_codes,snapshots}.",
    )
    more = predict_request(model_name, {**inputs, "gain": inputs["snr_db"]})
    assert refusal(prediction.Predict, more) == (
        INVALID,
        "input size does not match signature: 5!=4 len({channel,gain,ris_codes,snapshots,snr_db}) != "
        f"len({NAMES}). Sent extra: {{gain}}. Missing but required: {{}}.",
    )


def test_an_input_of_another_name(prediction, refusal, inputs, signatures, model_name: str) -> None:
    others = {name: value for name, value in inputs.items() if name != "snr_db"}
    code, message = refusal(prediction.Predict, predict_request(model_name, {**others, "snr": inputs["snr_db"]}))
    feed = signatures["serving_default"].inputs["snr_db"].name
    assert code == INVALID
    assert message.startswith(f"Signature input alias: snr_db(feed name: {feed}) not found in request")


def test_a_tensor_whose_bytes_do_not_fit_its_shape(prediction, refusal, inputs, model_name: str) -> None:
    request = predict_request(model_name, inputs)
    request.inputs["snr_db"].tensor_content = b"\x00\x01\x02"
    assert refusal(prediction.Predict, request) == (INVALID, "tensor parsing error: snr_db")


def test_a_wrong_dtype(prediction, refusal, inputs, real_inputs, model_name: str) -> None:
    double = {**inputs, "snr_db": inputs["snr_db"].astype(np.float64)}
    code, message = refusal(prediction.Predict, predict_request(model_name, double))
    assert code == INVALID
    assert re.search(r"Expects arg\[\d\] to be float but double is provided", message)
    parts = {**inputs, "channel": real_inputs["channel"]}
    code, message = refusal(prediction.Predict, predict_request(model_name, parts))
    assert code == INVALID
    assert re.search(r"Expects arg\[\d\] to be complex64 but float is provided", message)


def test_numbers_that_are_not_finite(prediction, refusal, inputs, model_name: str) -> None:
    """The graph itself names the input."""
    broken = {**inputs, "snr_db": np.full_like(inputs["snr_db"], np.nan)}
    code, message = refusal(prediction.Predict, predict_request(model_name, broken))
    assert code == INVALID
    assert "snr_db: expected finite numbers" in message


def test_a_wrong_shape(prediction, refusal, inputs, model_name: str) -> None:
    smaller = {**inputs, "channel": inputs["channel"][..., :100]}
    assert refusal(prediction.Predict, predict_request(model_name, smaller))[0] == INVALID


def test_a_message_beyond_grpcs_four_megabytes_is_received(prediction, refusal, inputs, model_name: str) -> None:
    """It is refused for its content, not for its size."""
    more = {**inputs, "gain": np.zeros(3 * 2**20, np.float32)}
    code, message = refusal(prediction.Predict, predict_request(model_name, more))
    assert code == INVALID
    assert message.startswith("input size does not match signature: 5!=4")


def test_output_filter_with_an_unknown_and_a_repeated_name(prediction, refusal, inputs, model_name: str) -> None:
    request = predict_request(model_name, inputs, "covariance")
    request.output_filter.append("position_m")
    assert refusal(prediction.Predict, request) == (
        INVALID,
        "output tensor alias not found in signature: position_m Outputs expected to be in the set {covariance}.",
    )
    request.output_filter[:] = ["covariance", "covariance"]
    assert refusal(prediction.Predict, request) == (INVALID, "duplicate output tensor alias: covariance")


# Configuration: only requests that are refused before anything changes


def test_configurations_that_are_refused(model_service, refusal, model_name: str) -> None:
    def answer(**config: Any) -> tuple[grpc.StatusCode, str]:
        request = model_management_pb2.ReloadConfigRequest(config=config)
        return refusal(model_service.HandleReloadConfigRequest, request)

    supported = "Only ModelConfigList is currently supported"
    message = f"ServerModelConfig type not supported by HandleReloadConfigRequest. {supported}"
    assert answer() == (INVALID, message)
    model = {"name": model_name, "base_path": "/models/conformance", "model_platform": "tensorflow"}
    message = f"Illegal to list model {model_name} multiple times in config list"
    assert answer(model_config_list={"config": [model, model]}) == (INVALID, message)
    relative = {**model, "base_path": "relative/path"}
    message = f"Expected model {model_name} to have an absolute path or URI; got base_path()=relative/path"
    assert answer(model_config_list={"config": [relative]}) == (INVALID, message)
    change = "platform was tensorflow and new platform requested is other"
    message = f"Illegal to change a model's platform. For model {model_name} {change}"
    assert answer(model_config_list={"config": [{**model, "model_platform": "other"}]}) == (INVALID, message)
