"""Bodies of TF Serving's REST API to request messages, and answers to bodies."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.core import METADATA_FIELD
from serving.server.errors import ServingError, invalid_argument
from serving.server.json_tensors import (
    array_of_json,
    decoded_base64,
    is_base64,
    json_of_array,
    json_of_float,
    kind_of,
    shown,
)
from serving.server.tensors import array_of, numpy_dtype, proto_of

Inputs = Mapping[str, meta_graph_pb2.TensorInfo]


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature a body asks for, empty for the default.

    Raises:
      ServingError: INVALID_ARGUMENT; it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


# Predict


def _is_named(element: Any) -> bool:
    return isinstance(element, dict) and not is_base64(element)


def _instance_arrays(instances: list[Any], inputs: Inputs) -> dict[str, list[np.ndarray]]:
    """Arrays of every instance by input."""
    named = _is_named(instances[0])
    if len(inputs) > 1 and not isinstance(instances[0], dict):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for number, element in enumerate(instances):
        if named and not _is_named(element):
            raise invalid_argument(f"Expecting object but got list at item {number} of input list")
        if not named and _is_named(element):
            raise invalid_argument(f"Expecting value/list but got object at item {number} of input list")
        for name, value in element.items() if named else ((next(iter(inputs)), element),):
            try:
                if name not in inputs:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                array = array_of_json(value, numpy_dtype(inputs[name].dtype))
                if arrays[name] and arrays[name][0].size != array.size:
                    raise invalid_argument(f"Expecting tensor size: {arrays[name][0].size} but got: {array.size}")
                if arrays[name] and arrays[name][0].shape != array.shape:
                    before, now = (",".join(map(str, shape)) for shape in (arrays[name][0].shape, array.shape))
                    raise invalid_argument(f"Expecting shape [{before}] but got: [{now}]")
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid_argument(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: {error}"
                ) from None
            arrays[name].append(array)
        if named and set(element) != set(inputs):
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: {shown(element)} keys must be "
                f"equal to: {','.join(sorted(inputs))}"
            )
    return arrays


def _column_arrays(value: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {next(iter(inputs)): value}
    for name in sorted(inputs):
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: array_of_json(value[name], numpy_dtype(info.dtype)) for name, info in inputs.items()}


def fill_predict(request: predict_pb2.PredictRequest, document: Mapping[str, Any], inputs: Inputs) -> bool:
    """Puts the tensors of a body into a request.

    Returns:
      Whether it was in row form (`instances`), as the answer shall be.

    Raises:
      ServingError: with TF Serving's code and message.
    """
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" not in document and "inputs" not in document:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    if not inputs:
        name = request.model_spec.signature_name or "DEFAULT"
        raise invalid_argument(f"Failed to get input map for signature: {name}")
    rows = "instances" in document
    if rows:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid_argument(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid_argument(f"JSON Value: {shown(document)} No values in 'instances' array")
        arrays = {name: np.stack(parts) for name, parts in _instance_arrays(instances, inputs).items() if parts}
    else:
        arrays = _column_arrays(document["inputs"], inputs)
    for name, array in arrays.items():
        request.inputs[name].CopyFrom(proto_of(array))
    return rows


def predict_body(outputs: Mapping[str, tensor_pb2.TensorProto], rows: bool) -> str:
    """An answer of Predict: `predictions` in row form, else `outputs`.

    Raises:
      ServingError: INVALID_ARGUMENT; the outputs have no such form in JSON.
    """
    arrays = {name: array_of(proto, name) for name, proto in sorted(outputs.items())}

    def written(name: str, array: np.ndarray) -> str:
        return json_of_array(array, as_bytes=name.endswith("_bytes"))

    def together(values: Mapping[str, str]) -> str:
        if len(values) == 1:
            return next(iter(values.values()))
        return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in values.items()) + "}"

    if not rows:
        return f'{{"outputs": {together({name: written(name, array) for name, array in arrays.items()})}}}'
    batch: int | None = None
    for name, array in arrays.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch not in (None, len(array)):
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch}")
        batch = len(array)
    items = [
        together({name: written(name, array[row : row + 1].reshape(array.shape[1:])) for name, array in arrays.items()})
        for row in range(batch or 0)
    ]
    return f'{{"predictions": [{", ".join(items)}]}}'


# Classify and Regress


_LISTS = {bool: "int64_list", int: "int64_list", float: "float_list", str: "bytes_list", dict: "bytes_list"}


def _feature(name: str, content: Any) -> feature_pb2.Feature:
    feature = feature_pb2.Feature()
    for value in content if isinstance(content, list) else [content]:
        if type(value) not in _LISTS or (isinstance(value, dict) and not is_base64(value)):
            raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {kind_of(value)}")
        kind = _LISTS[type(value)]
        if feature.WhichOneof("kind") not in (None, kind):
            expected = (feature.WhichOneof("kind") or "").partition("_")[0]
            raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {expected}")
        if isinstance(value, dict):
            value = decoded_base64(value)
        try:
            getattr(feature, kind).value.append(value.encode() if isinstance(value, str) else value)
        except ValueError:
            text = f"Feature: {name} has uint64_t element. Only int64_t is supported."
            raise invalid_argument(text) from None
    return feature


def _fill_example(example: example_pb2.Example, value: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {kind_of(value)}")
    for name, content in value.items():
        example.features.feature[name].CopyFrom(_feature(name, content))


def fill_examples(request_input: input_pb2.Input, document: Mapping[str, Any]) -> None:
    """Puts the examples of a body into a request.

    Raises:
      ServingError: INVALID_ARGUMENT; there are none, or they hold something else.
    """
    listed = request_input.example_list
    if "context" in document:
        listed = request_input.example_list_with_context
        _fill_example(listed.context, document["context"])
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid_argument(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid_argument(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for value in examples:
        _fill_example(listed.examples.add(), value)


def classify_body(result: classification_pb2.ClassificationResult) -> str:
    """`results`: a list of [label, score] an example."""
    rows = (
        "[" + ", ".join(f"[{json.dumps(c.label)}, {json_of_float(c.score)}]" for c in found.classes) + "]"
        for found in result.classifications
    )
    return f'{{"results": [{", ".join(rows)}]}}'


def regress_body(result: regression_pb2.RegressionResult) -> str:
    """`results`: a number an example."""
    return f'{{"results": [{", ".join(json_of_float(entry.value) for entry in result.regressions)}]}}'


# Status and metadata


def _as_json(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def status_body(response: get_model_status_pb2.GetModelStatusResponse) -> str:
    """State and status of every version."""
    return json.dumps(_as_json(response), indent=1)


def metadata_body(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """The model_spec and the signatures."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[METADATA_FIELD].Unpack(signatures)
    body = {"model_spec": _as_json(response.model_spec), "metadata": {METADATA_FIELD: _as_json(signatures)}}
    return json.dumps(body, indent=1)
