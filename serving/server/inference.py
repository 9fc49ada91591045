"""Requests of PredictionService on one loaded version: what TF Serving's RunPredict, RunClassify and so on do."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.errors import ServingError, failed_precondition, invalid_argument
from serving.server.servable import Run
from serving.server.signatures import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    Signature,
    classification_result,
    classify_tensors,
    predict_feeds,
    predict_fetches,
    regress_tensors,
    regression_result,
    serialized_examples,
)
from serving.server.tensors import proto_of

Signatures: TypeAlias = Mapping[str, Signature]
_Tensors = Callable[[Signature], tuple[str, dict[str, str]]]


def resolved_spec(name: str, version: int, signature_name: str = "") -> model_pb2.ModelSpec:
    """The model_spec of an answer: which version it was."""
    spec = model_pb2.ModelSpec(name=name, signature_name=signature_name)
    spec.version.value = version
    return spec


def _fetch(run: Run, feeds: Mapping[str, np.ndarray], wanted: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Values by alias; `wanted` holds tensor names by alias."""
    names = sorted(set(wanted.values()))
    values = dict(zip(names, run(feeds, names), strict=True))
    return {alias: values[name] for alias, name in wanted.items()}


def _fetch_signature(
    run: Run, signature: Signature, feeds: Mapping[str, np.ndarray], wanted: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """As `_fetch`. One operation that yields every output runs whole whatever is wanted, so all are fetched then, and
    requests that differ only in the filter share a callable and a batch."""
    every = {alias: info.name for alias, info in signature.outputs.items()}
    whole = len({name.partition(":")[0] for name in every.values()}) == 1
    values = _fetch(run, feeds, every if whole else wanted)
    return {alias: values[alias] for alias in wanted}


def run_predict(
    signatures: Signatures, version: int, run: Run, request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """Raises: ServingError with TF Serving's code and message."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    feeds = predict_feeds(signatures[name], request.inputs)
    wanted = predict_fetches(signatures[name], list(request.output_filter))
    values = _fetch_signature(run, signatures[name], feeds, wanted)
    response = predict_pb2.PredictResponse(model_spec=resolved_spec(request.model_spec.name, version, name))
    for alias, value in values.items():
        response.outputs[alias].CopyFrom(proto_of(value))
    return response


def _examples_signature(signatures: Signatures, signature_name: str) -> tuple[str, Signature]:
    name = signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise invalid_argument(f"No signature was found with the name: {name}")
    return name, signatures[name]


def run_classify(
    signatures: Signatures, version: int, run: Run, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    """Raises: ServingError with TF Serving's code and message."""
    name, signature = _examples_signature(signatures, request.model_spec.signature_name)
    input_name, outputs = classify_tensors(signature)
    examples = serialized_examples(request.input)
    result = classification_result(_fetch(run, {input_name: examples}, outputs), len(examples))
    spec = resolved_spec(request.model_spec.name, version, name)
    return classification_pb2.ClassificationResponse(result=result, model_spec=spec)


def run_regress(
    signatures: Signatures, version: int, run: Run, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
    """Raises: ServingError with TF Serving's code and message."""
    name, signature = _examples_signature(signatures, request.model_spec.signature_name)
    input_name, outputs = regress_tensors(signature)
    examples = serialized_examples(request.input)
    result = regression_result(_fetch(run, {input_name: examples}, outputs), len(examples))
    spec = resolved_spec(request.model_spec.name, version, name)
    return regression_pb2.RegressionResponse(result=result, model_spec=spec)


def _task_tensors(
    signatures: Signatures, tasks: Sequence[inference_pb2.InferenceTask]
) -> list[tuple[str, str, dict[str, str]]]:
    """Signature name, input tensor and outputs of every task."""
    found: list[tuple[str, str, dict[str, str]]] = []
    tensors: dict[str, _Tensors] = {CLASSIFY_METHOD: classify_tensors, REGRESS_METHOD: regress_tensors}
    for task in tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in (earlier for earlier, _, _ in found):
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name not in tensors:
            message = f"Unsupported signature method_name: {task.method_name}"
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, message)
        found.append((name, *tensors[task.method_name](signatures[name])))
    return found


def run_multi_inference(
    signatures: Signatures, version: int, run: Run, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """All tasks in one run of the model. Raises: ServingError with TF Serving's code and message."""
    tasks = _task_tensors(signatures, request.tasks)
    examples = serialized_examples(request.input)
    fetches = {tensor: tensor for _, _, outputs in tasks for tensor in outputs.values()}
    values = _fetch(run, {input_name: examples for _, input_name, _ in tasks}, fetches)
    response = inference_pb2.MultiInferenceResponse()
    for task, (name, _, outputs) in zip(request.tasks, tasks, strict=True):
        result = response.results.add(model_spec=resolved_spec(task.model_spec.name, version, name))
        own = {alias: values[tensor] for alias, tensor in outputs.items()}
        if task.method_name == CLASSIFY_METHOD:
            result.classification_result.CopyFrom(classification_result(own, len(examples)))
        else:
            result.regression_result.CopyFrom(regression_result(own, len(examples)))
    return response
