"""A model on a server that locates one scene at a time.

The connection is opened again after every failure, because the server may serve another model by then.
"""

import dataclasses
import time

import numpy as np

from pipeline.view.shots import Shot
from serving.client import LocalizerClient, RetryConfig, ServerError

ANSWER_S = 60.0
"""Deadline of an answer in seconds; long, because the first request to a version without warm-up traces its graph."""
_READY_S = 2.0
_ONCE = RetryConfig(retries=0, longest_wait_s=1.0)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The server's answer for one scene.

    outputs: outputs of `serving_default`, a batch of one.
    spectrum: outputs of `spectrum`; None if not requested.
    latency_ms: time of the request to `serving_default`, as measured by the client.
    model_version: version that answered.
    """

    outputs: dict[str, np.ndarray]
    spectrum: dict[str, np.ndarray] | None
    latency_ms: float
    model_version: int


class Model:
    """A model of this name on the server at HOST:PORT. Requests are not retried; the caller decides when to try
    again."""

    def __init__(self, target: str, name: str) -> None:
        self._target, self._name, self._closed = target, name, False
        self._open()

    def _open(self) -> None:
        self._localizer, self._spectrum = self._client("serving_default"), self._client("spectrum")
        self._surface_sha256: str | None = None
        self.has_spectrum: bool | None = None
        """Whether the model has the signature `spectrum`; None before its first answer."""

    def _client(self, signature: str) -> LocalizerClient:
        return LocalizerClient(self._target, self._name, ANSWER_S, signature_name=signature, retry=_ONCE)

    def close(self) -> None:
        """Closes the connections for good; pending requests fail."""
        self._closed = True
        self._localizer.close()
        self._spectrum.close()

    def reopen(self) -> None:
        """Opens new connections and forgets what is known of the model."""
        if not self._closed:
            self._localizer.close()
            self._spectrum.close()
            self._open()

    def ready(self) -> bool:
        """Whether the model is served now; False if the server rejects the request, or after `close`."""
        try:
            return self._localizer.ready(_READY_S)
        except ServerError:
            return False
        except ValueError:  # gRPC raises it if a connection is closed while in use
            if self._closed:
                return False
            raise

    def ask(self, shot: Shot, spectrum: bool) -> Answer:
        """Requests the answer for a scene, and the spectrum if wanted and the model has one.

        Raises:
          ServerError: the server is unavailable or rejects the request.
          ValueError: the scene belongs to another installation than the model.
        """
        try:
            self._localizer.check(shot.measurement)
        except ValueError as error:
            if shot.surface_sha256 is None:
                raise
            raise self._of_another_installation(f" ({error})") from None
        self._inspect()
        if shot.surface_sha256 is not None and self._surface_sha256 not in (None, shot.surface_sha256):
            raise self._of_another_installation()
        inputs = shot.measurement.inputs(0, 1)
        started = time.perf_counter()
        answer = self._localizer.predict(inputs)
        latency_ms = 1e3 * (time.perf_counter() - started)
        shown = self._spectrum.predict(inputs).outputs if spectrum and self.has_spectrum else None
        return Answer(answer.outputs, shown, latency_ms, answer.model_version)

    def _of_another_installation(self, how: str = "") -> ValueError:
        return ValueError(
            f"--installation: expected that of the model {self._name}, got another one{how}; measurement files can "
            "still be shown, but with the wrong field of view and surface around their sources"
        )

    def _inspect(self) -> None:
        """Requests once whether the model has a spectrum, and which surface it belongs to."""
        if self.has_spectrum is not None:
            return
        with self._client("surface") as client:
            if _has_signature(client):
                digest = client.predict({"snr_db": np.zeros(1, np.float32)}).outputs["surface_sha256"]
                self._surface_sha256 = bytes(digest[0]).hex()
        self.has_spectrum = _has_signature(self._spectrum)


def _has_signature(client: LocalizerClient) -> bool:
    try:
        client.input_shapes()
    except ValueError:
        return False
    return True
