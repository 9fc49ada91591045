"""One loaded model version, run through a session as TF Serving does."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from serving.server.errors import as_serving_error, invalid_argument
from serving.server.tensors import dtype_name

_MAX_CALLABLES = 32

Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], list[np.ndarray]]
"""Feeds by tensor name and names of tensors to fetch, to their values. Raises ServingError."""


class Servable:
    """A SavedModel with tag `serve`.

    Args:
      directory: the version's folder.
      version: its number.

    Raises:
      OSError, ValueError, tf.errors.OpError: it can't be loaded.
    """

    def __init__(self, directory: Path, version: int) -> None:
        self.version = version
        self._graph = tf.Graph()
        self._lock = threading.Lock()
        self._callables: OrderedDict[tuple[tuple[str, ...], ...], Callable[..., list[np.ndarray]]] = OrderedDict()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            with self._graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(directory))
        except BaseException:
            self._session.close()
            raise
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = meta_graph.signature_def

    def close(self) -> None:
        """Frees the session; no run may be on its way."""
        with self._lock:
            self._callables.clear()
        self._session.close()

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
        # Session.run would cast dtypes and check shapes, which TF Serving does not; a callable is what it runs on.
        with self._lock:
            key = (feeds, fetches)
            if key not in self._callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                self._callables[key] = self._session._make_callable_from_options(options)
            self._callables.move_to_end(key)
            if len(self._callables) > _MAX_CALLABLES:
                self._callables.popitem(last=False)
            return self._callables[key]

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        """Values of the tensors `fetches`.

        Args:
          feeds: by tensor name.
          fetches: tensor names.

        Raises:
          ServingError: with TF Serving's code and message.
        """
        names = tuple(sorted(feeds))
        for position, name in enumerate(names):
            expected = self._graph.get_tensor_by_name(name).dtype
            if feeds[name].dtype != expected.as_numpy_dtype:
                wanted = dtype_name(np.dtype(expected.as_numpy_dtype))
                got = dtype_name(feeds[name].dtype)
                raise invalid_argument(f"Expects arg[{position}] to be {wanted} but {got} is provided")
        try:
            return self._callable(names, tuple(fetches))(*(feeds[name] for name in names))
        except tf.errors.OpError as error:
            raise as_serving_error(error) from None
