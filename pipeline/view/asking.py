"""A model on a server, asked for one scene at a time; made anew after every failure, for it may be another one then."""

import dataclasses
import time

import numpy as np

from pipeline.view.shots import Shot
from serving.client import LocalizerClient, RetryConfig, ServerError

ANSWER_S = 60.0
"""Deadline of an answer, seconds: the first one of a version without warm-up traces its graph."""
_READY_S = 2.0
_ONCE = RetryConfig(retries=0, longest_wait_s=1.0)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server says of one scene.

    outputs: of `serving_default`, a batch of one. spectrum: outputs of `spectrum`, where asked. latency_ms: of
    the first alone, as the client sees it. model_version: that answered.
    """

    outputs: dict[str, np.ndarray]
    spectrum: dict[str, np.ndarray] | None
    latency_ms: float
    model_version: int


class Model:
    """The model. Nothing is tried twice: whoever asks decides when to ask again.

    Args:
      target: HOST:PORT.
      name: the model's name there.
    """

    def __init__(self, target: str, name: str) -> None:
        self._target, self._name, self._closed = target, name, False
        self._open()

    def _open(self) -> None:
        self._localizer = self._client("serving_default")
        self._spectrum = self._client("spectrum")
        self._surface_sha256: str | None = None
        self.has_spectrum: bool | None = None
        """Whether it gives one; None before it has answered."""

    def _client(self, signature: str) -> LocalizerClient:
        return LocalizerClient(self._target, self._name, ANSWER_S, signature_name=signature, retry=_ONCE)

    def close(self) -> None:
        """Ends the connections for good; what is being asked fails."""
        self._closed = True
        self._localizer.close()
        self._spectrum.close()

    def reopen(self) -> None:
        """Forgets what is known of the server."""
        if not self._closed:
            self._localizer.close()
            self._spectrum.close()
            self._open()

    def ready(self) -> bool:
        """Whether the model serves now; a server that refuses to say does not, nor is one asked after `close`."""
        try:
            return self._localizer.ready(_READY_S)
        except ServerError:
            return False
        except ValueError:  # of gRPC, where a connection is closed while it is used
            if self._closed:
                return False
            raise

    def ask(self, shot: Shot, spectrum: bool) -> Answer:
        """The answer for a scene.

        Args:
          shot: the scene.
          spectrum: whether its spectrum is wanted, too, if the model gives one.

        Raises:
          ServerError: the server is away or refuses.
          ValueError: the scene is of another installation than the model's.
        """
        try:
            self._localizer.check(shot.measurement)
        except ValueError as error:
            if shot.surface_sha256 is None:
                raise
            raise self._of_another_installation(f" ({error})") from None
        self._meet()
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
            f"--installation: expected that of the model {self._name}, got another one{how}; files can be shown, with "
            "the region and the surface of the wrong one about their sources"
        )

    def _meet(self) -> None:
        """Asks once whether the model gives a spectrum, and of which surface it is."""
        if self.has_spectrum is not None:
            return
        with self._client("surface") as client:
            if _has_signature(client):
                digest = client.predict({"snr_db": np.zeros(1, np.float32)}).outputs["surface_sha256"]
                self._surface_sha256 = bytes(digest[0]).hex()
        self.has_spectrum = _has_signature(self._spectrum)


def _has_signature(client: LocalizerClient) -> bool:
    """Whether the model has the signature that the client asks."""
    try:
        client.input_shapes()
    except ValueError:
        return False
    return True
