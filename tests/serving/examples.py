"""Requests that carry tf.train.Examples, for the model of `tests.serving.models`."""

from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

M = "half_plus"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def with_examples(request, *values: float):
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def classification(signature: str, *values: float) -> classification_pb2.ClassificationRequest:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = M, signature
    return with_examples(request, *values)


def regression(signature: str, *values: float) -> regression_pb2.RegressionRequest:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = M, signature
    return with_examples(request, *values)


def tasks(*pairs: tuple[str, str], name: str = M) -> inference_pb2.MultiInferenceRequest:
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in pairs:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return with_examples(request, 2.0)
