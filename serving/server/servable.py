"""A loaded model version, run through a session as TF Serving does, and Predict on its signatures.

`_Session` is the adapter to private parts of TensorFlow: `Session._extend_graph`, `Session._call_tf_sessionrun`,
`Tensor._as_tf_output` and `pywrap_tf_session`. The public `Session.run` casts dtypes and checks shapes, which TF
Serving does not. tests/serving/test_adapters.py fails if a release of TensorFlow changes them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.server.calls import NO_DEADLINE, Call, as_serving_error, failed_precondition, invalid_argument
from serving.server.tensors import array_of, dtype_name, proto_of

DEFAULT_SIGNATURE = "serving_default"

Signature: TypeAlias = meta_graph_pb2.SignatureDef
Signatures: TypeAlias = Mapping[str, Signature]
Feeds: TypeAlias = Mapping[str, np.ndarray]
Run = Callable[[Feeds, Sequence[str], Call], list[np.ndarray]]
"""Runs a model: arrays to feed by tensor name, names of the tensors to fetch, and the call; returns the fetched arrays.
Raises: ServingError: with TF Serving's code and message."""


@dataclasses.dataclass(frozen=True)
class Servable:
    """A loaded version. `close` frees it and must not be called during a run."""

    version: int
    signatures: Signatures
    run: Run
    close: Callable[[], None]


def load_servable(directory: Path, version: int) -> Servable:
    """Loads a SavedModel with the tag `serve`. Raises: OSError, ValueError, tf.errors.OpError."""
    session = _Session(directory)  # TensorFlow closes it when it is garbage collected
    return Servable(version, session.signatures, session.run, session.close)


def _session_config() -> config_pb2.ConfigProto:
    """Optimises the graph in one pass at the first run of a signature, without the optimisers that make no run faster.

    With TensorFlow's defaults this takes twice as long and more memory.
    """
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    rewrite.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    rewrite.layout_optimizer = rewrite.remapping = rewriter_config_pb2.RewriterConfig.OFF
    rewrite.disable_tfg_optimizer = True
    return config


class _Session:
    def __init__(self, directory: Path) -> None:
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=_session_config())
        with self._graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
        self._session._extend_graph()
        self.signatures: Signatures = meta_graph.signature_def
        self.close = self._session.close

    def run(self, feeds: Feeds, fetches: Sequence[str], call: Call = NO_DEADLINE) -> list[np.ndarray]:
        """A `Run`; TensorFlow aborts it at the call's deadline."""
        tensors = {name: self._graph.get_tensor_by_name(name) for name in {*feeds, *fetches}}
        for position, name in enumerate(sorted(feeds)):
            wanted = np.dtype(tensors[name].dtype.as_numpy_dtype)
            if feeds[name].dtype != wanted:
                got = dtype_name(feeds[name].dtype)
                raise invalid_argument(f"Expects arg[{position}] to be {dtype_name(wanted)} but {got} is provided")
        outputs = {name: tensor._as_tf_output() for name, tensor in tensors.items()}
        try:
            return self._run({outputs[name]: fed for name, fed in feeds.items()}, [outputs[f] for f in fetches], call)
        except tf.errors.OpError as error:
            raise as_serving_error(error) from None

    def _run(self, feeds: dict, fetches: list, call: Call) -> list[np.ndarray]:
        """Does what Session.run does, but neither casts dtypes nor checks shapes."""
        call.check()
        remaining_s = call.remaining_s()
        timeout_ms = 0 if remaining_s is None else min(1 + int(1e3 * remaining_s), 2**31)  # 0: no limit
        options = config_pb2.RunOptions(timeout_in_ms=timeout_ms)
        buffer = pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString())
        try:
            return self._session._call_tf_sessionrun(buffer, feeds, fetches, [], None)
        finally:
            pywrap_tf_session.TF_DeleteBuffer(buffer)


# Predict; the checks are in TF Serving's order


def _names(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _feeds(signature: Signature, inputs: Mapping[str, tensor_pb2.TensorProto]) -> dict[str, np.ndarray]:
    """Returns the inputs of a request by tensor name."""
    sent, expected, defaults = set(inputs), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not defaults):
        sizes = f"{len(sent)}!={len(expected)} len({_names(sent)}) != len({_names(expected)})"
        differ = f"Sent extra: {_names(sent - expected)}. Missing but required: {_names(expected - sent)}."
        raise invalid_argument(f"input size does not match signature: {sizes}. {differ}")
    feeds = {}
    for alias, info in sorted(signature.inputs.items()):
        if alias not in sent | defaults:
            missing = f"{alias}(feed name: {info.name}) not found in request and no default value provided"
            known = f"in the request {_names(sent)}, or default input alias set: {','.join(sorted(defaults))}"
            raise invalid_argument(f"Signature input alias: {missing}. Inputs expected to be {known}")
        feeds[info.name] = array_of(inputs[alias] if alias in sent else signature.defaults[alias], alias)
    if sent - expected:
        used = f"Used request inputs: {','.join(sorted(sent & expected))}, request input: {','.join(sorted(sent))}"
        raise invalid_argument(f"Inputs contains invalid name. {used}")
    return feeds


def _fetches(signature: Signature, output_filter: Sequence[str]) -> dict[str, str]:
    """Returns tensor names by output alias; all outputs if the filter is empty."""
    for place, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            known = f"Outputs expected to be in the set {_names(signature.outputs)}."
            raise invalid_argument(f"output tensor alias not found in signature: {alias} {known}")
        if alias in output_filter[:place]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return {alias: signature.outputs[alias].name for alias in output_filter or sorted(signature.outputs)}


def _run_signature(run: Run, signature: Signature, feeds: Feeds, wanted: Mapping[str, str], call: Call) -> Feeds:
    """Returns output values by alias; `wanted` holds tensor names by alias.

    If one operation computes all outputs, it runs completely for any subset of them. All outputs are fetched then, so
    that requests that differ only in their filter can share a batch.
    """
    every = {alias: info.name for alias, info in signature.outputs.items()}
    whole = len({name.partition(":")[0] for name in every.values()}) == 1
    names = sorted(set((every if whole else wanted).values()))
    values = dict(zip(names, run(feeds, names, call), strict=True))
    return {alias: values[name] for alias, name in wanted.items()}


def run_predict(servable: Servable, request: PredictRequest, call: Call = NO_DEADLINE) -> PredictResponse:
    """Answers a Predict request. Raises: ServingError: with TF Serving's code and message."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    signature = servable.signatures[name]
    feeds, wanted = _feeds(signature, request.inputs), _fetches(signature, list(request.output_filter))
    values = _run_signature(servable.run, signature, feeds, wanted, call)
    spec = {"name": request.model_spec.name, "version": {"value": servable.version}, "signature_name": name}
    outputs = {alias: proto_of(value) for alias, value in values.items()}
    return PredictResponse(model_spec=spec, outputs=outputs)
