"""What a signature asks of a request and how its outputs become an answer, in the order TF Serving checks it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.server.errors import invalid_argument
from serving.server.tensors import array_of, proto_of

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

Signature: TypeAlias = meta_graph_pb2.SignatureDef


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _data_type(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(proto_of(array[:0]).dtype)


# Predict


def predict_feeds(signature: Signature, inputs: Mapping[str, tensor_pb2.TensorProto]) -> dict[str, np.ndarray]:
    """Values by tensor name of a Predict request.

    Raises:
      ServingError: INVALID_ARGUMENT; inputs are missing, unknown or no tensors.
    """
    sent, expected, defaults = set(inputs), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} "
            f"len({_names(sent)}) != len({_names(expected)}). "
            f"Sent extra: {_names(sent - expected)}. Missing but required: {_names(expected - sent)}."
        )
    feeds = {}
    for alias, info in sorted(signature.inputs.items()):
        if alias not in sent | defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_names(sent)}, or default input alias set: "
                f"{','.join(sorted(defaults))}"
            )
        feeds[info.name] = array_of(inputs[alias] if alias in sent else signature.defaults[alias], alias)
    if sent - expected:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & expected))}, "
            f"request input: {','.join(sorted(sent))}"
        )
    return feeds


def predict_fetches(signature: Signature, output_filter: Sequence[str]) -> dict[str, str]:
    """Tensor names by alias of the outputs wanted; all of them if the filter is empty.

    Raises:
      ServingError: INVALID_ARGUMENT; an alias is unknown or repeated.
    """
    for place, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_names(signature.outputs)}."
            )
        if alias in output_filter[:place]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return {alias: signature.outputs[alias].name for alias in output_filter or sorted(signature.outputs)}


# Classify and Regress


def serialized_examples(request_input: input_pb2.Input) -> np.ndarray:
    """Examples of a request, serialised, the context before each: [num_examples] of bytes.

    Raises:
      ServingError: INVALID_ARGUMENT; there are none.
    """
    kind = request_input.WhichOneof("kind")
    examples = getattr(request_input, kind).examples if kind else ()
    if not examples:
        raise invalid_argument("Input is empty.")
    context = request_input.example_list_with_context.context if kind == "example_list_with_context" else None
    before = context.SerializeToString() if context is not None else b""
    return np.array([before + example.SerializeToString() for example in examples], object)


def classify_tensors(signature: Signature) -> tuple[str, dict[str, str]]:
    """The input tensor's name, and those of `classes` and `scores`, whichever there are.

    Raises:
      ServingError: INVALID_ARGUMENT; the signature is not one for Classify.
    """
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    outputs = {alias: signature.outputs[alias].name for alias in ("classes", "scores") if alias in signature.outputs}
    if not outputs:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )
    return signature.inputs["inputs"].name, outputs


def regress_tensors(signature: Signature) -> tuple[str, dict[str, str]]:
    """Names of the input tensor and of `outputs`.

    Raises:
      ServingError: INVALID_ARGUMENT; the signature is not one for Regress.
    """
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs["inputs"].name, {"outputs": signature.outputs["outputs"].name}


def _checked(alias: str, array: np.ndarray, dtype: type, dtype_text: str, num_examples: int) -> np.ndarray:
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    if array.dtype != dtype:
        raise invalid_argument(f"Expected {alias} Tensor of {dtype_text}. Got: {_data_type(array)}")
    if len(array) != num_examples:
        raise invalid_argument(f"Expected {alias} output batch size of {num_examples}. Got: {len(array)}")
    return array


def classification_result(
    values: Mapping[str, np.ndarray], num_examples: int
) -> classification_pb2.ClassificationResult:
    """Classes of every example from `classes` [num_examples, C] string and `scores` [num_examples, C] float32.

    Raises:
      ServingError: INVALID_ARGUMENT; the model gave other shapes or dtypes.
    """
    classes = scores = None
    if "classes" in values:
        classes = _checked("classes", values["classes"], np.object_, "DT_STRING", num_examples)
    if "scores" in values:
        scores = _checked("scores", values["scores"], np.float32, "DT_FLOAT", num_examples)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    num_classes = next(iter(values.values())).shape[1]
    result = classification_pb2.ClassificationResult()
    for example in range(num_examples):
        found = result.classifications.add().classes
        for column in range(num_classes):
            entry = found.add()
            if classes is not None:
                entry.label = classes[example, column].decode(errors="replace")
            if scores is not None:
                entry.score = scores[example, column]
    return result


def regression_result(values: Mapping[str, np.ndarray], num_examples: int) -> regression_pb2.RegressionResult:
    """A value an example from `outputs` [num_examples] or [num_examples, 1] float32.

    Raises:
      ServingError: INVALID_ARGUMENT; the model gave another shape or dtype.
    """
    outputs = values["outputs"]
    if not (outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(outputs)}"
        )
    if len(outputs) != num_examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {num_examples} vs. {len(outputs)}")
    if outputs.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_data_type(outputs)}")
    result = regression_pb2.RegressionResult()
    for value in outputs.reshape(-1).tolist():
        result.regressions.add(value=value)
    return result
