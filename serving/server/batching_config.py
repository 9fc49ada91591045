"""TF Serving's batching parameters."""

import dataclasses
import itertools
import os
from typing import Any

from serving.server.errors import invalid_argument


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
    """BatchingParameters of TF Serving, with its defaults."""

    max_batch_size: int = 1000
    """Largest request, and largest batch unless `max_execution_batch_size` says less."""
    batch_timeout_s: float = 0.0
    max_enqueued_batches: int = 10
    """Batches that may wait for each signature; beyond, requests are UNAVAILABLE."""
    num_batch_threads: int = os.cpu_count() or 1
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes batches are padded to, ascending, the last one `max_batch_size`; empty for any."""
    pad_variable_length_inputs: bool = False
    """Pad the axes after the first to the longest of a batch, with each input's first value."""
    max_execution_batch_size: int | None = None
    """With `enable_large_batch_splitting`: the size larger requests are split to. None splits nothing."""

    def __post_init__(self) -> None:
        for field in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, field) < 1:
                raise invalid_argument(f"{field} must be positive; was {getattr(self, field)}")
        if self.batch_timeout_s < 0:
            raise invalid_argument(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_s * 1e6:.0f}")
        if self.max_execution_batch_size is not None and not 1 <= self.max_execution_batch_size <= self.max_batch_size:
            raise invalid_argument(
                f"max_execution_batch_size must be from 1 to max_batch_size; was {self.max_execution_batch_size}"
            )
        sizes = self.allowed_batch_sizes
        if any(size < 1 for size in sizes[:1]) or any(a >= b for a, b in itertools.pairwise(sizes)):
            raise invalid_argument(f"allowed_batch_sizes must be positive and increase; were {list(sizes)}")
        if sizes and sizes[-1] != self.max_batch_size:
            raise invalid_argument(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )

    @property
    def execution_size(self) -> int:
        """The largest batch that runs."""
        return self.max_execution_batch_size or self.max_batch_size

    def padded_size(self, size: int) -> int:
        """The smallest allowed size that holds `size`."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def batching_config(parameters: Any) -> BatchingConfig:
    """From a BatchingParameters message; what it leaves out keeps its default.

    Raises:
      ServingError: INVALID_ARGUMENT; numbers that do not go together.
    """
    given = {
        name: getattr(parameters, name).value
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "thread_pool_name")
        if parameters.HasField(name)
    }
    if parameters.HasField("batch_timeout_micros"):
        given["batch_timeout_s"] = parameters.batch_timeout_micros.value / 1e6
    if parameters.enable_large_batch_splitting.value:
        largest = given.get("max_batch_size", BatchingConfig.max_batch_size)
        asked = parameters.HasField("max_execution_batch_size")
        given["max_execution_batch_size"] = parameters.max_execution_batch_size.value if asked else largest
    return BatchingConfig(
        allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
        pad_variable_length_inputs=parameters.pad_variable_length_inputs,
        **given,
    )
