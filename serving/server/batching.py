"""Dynamic batching: requests with one signature and one shape beside the batch axis run together.

As in TF Serving a batch runs once it is full, or once its oldest request has waited `batch_timeout_micros` and a thread
is free. Unlike there, shapes that differ go into batches of their own, and a batch that fails is run again request by
request, so that none pays for its neighbour.
"""

import collections
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np

from serving.server.batching_config import BatchingConfig
from serving.server.errors import (
    ServingError,
    as_serving_error,
    failed_precondition,
    invalid_argument,
)
from serving.server.inference import Signatures
from serving.server.metrics import Metrics
from serving.server.servable import Run
from serving.server.versions import Loaded

Feeds = Mapping[str, np.ndarray]


@dataclasses.dataclass(eq=False)
class _Task:
    feeds: Feeds
    size: int
    enqueued: float
    done: threading.Event = dataclasses.field(default_factory=threading.Event)
    values: list[np.ndarray] | None = None
    error: ServingError | None = None


@dataclasses.dataclass(eq=False)
class _Batch:
    run: Run
    fetches: tuple[str, ...]
    alike: tuple
    tasks: list[_Task] = dataclasses.field(default_factory=list)
    size: int = 0
    closed: bool = False


Queue = collections.deque[_Batch]


def _padded_to(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The axes after the first lengthened to `shape` with the array's first value."""
    if array.shape[1:] == tuple(shape) or array.size == 0:
        return array
    widths = [(0, 0), *((0, size - own) for size, own in zip(shape, array.shape[1:], strict=True))]
    return np.pad(array, widths, constant_values=array.reshape(-1)[0])


def _merged(tasks: Sequence[_Task], padding: int) -> dict[str, np.ndarray]:
    """Inputs one after the other, then `padding` times the last one's first row."""
    if len(tasks) == 1 and padding == 0:
        return dict(tasks[0].feeds)
    merged = {}
    for name in tasks[0].feeds:
        arrays = [task.feeds[name] for task in tasks]
        longest = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else ()
        arrays = [_padded_to(array, tuple(longest)) for array in arrays]
        merged[name] = np.concatenate([*arrays, *[arrays[-1][:1]] * padding])
    return merged


def _split(values: Sequence[np.ndarray], sizes: Sequence[int], total: int) -> list[list[np.ndarray]]:
    """Outputs of each request."""
    for value in values:
        if value.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if len(value) != total:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
    ends = list(itertools.accumulate(sizes, initial=0))
    return [[value[start:end] for value in values] for start, end in itertools.pairwise(ends)]


class BatchScheduler:
    """Threads that run batches of all models.

    Args:
      config: see there.
      metrics: what is counted.
    """

    def __init__(self, config: BatchingConfig, metrics: Metrics) -> None:
        self.config, self._metrics = config, metrics
        self._lock = threading.Condition()
        self._queues: dict[tuple, Queue] = {}
        for _ in range(config.num_batch_threads):
            threading.Thread(target=self._work, daemon=True, name=config.thread_pool_name).start()

    # What requests do

    def run(self, run: Run, feeds: Feeds, fetches: Sequence[str]) -> list[np.ndarray]:
        """As `run(feeds, fetches)`, together with others that came with the same `run`.

        Raises:
          ServingError: UNAVAILABLE, too much waits already; or what `run` raises.
        """
        size = self._size(feeds)
        if size == 0:
            return run(feeds, fetches)
        if size > self.config.max_batch_size:
            raise invalid_argument(
                f"Task size {size} is larger than maximum input batch size {self.config.max_batch_size}"
            )
        step = self.config.execution_size
        tasks = [
            self._enqueue(run, {name: array[start : start + step] for name, array in feeds.items()}, fetches)
            for start in range(0, size, step)
        ]
        for task in tasks:
            task.done.wait()
        failed = next((task.error for task in tasks if task.error is not None), None)
        if failed is not None:
            raise ServingError(failed.code, failed.message)
        parts = [task.values or [] for task in tasks]
        return parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]

    @staticmethod
    def _size(feeds: Feeds) -> int:
        if not feeds:
            raise invalid_argument("Batching Run() must have at least one input tensor")
        if any(array.ndim == 0 for array in feeds.values()):
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes = {len(array) for array in feeds.values()}
        if len(sizes) > 1:
            raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
        return sizes.pop()

    def _enqueue(self, run: Run, feeds: Feeds, fetches: Sequence[str]) -> _Task:
        task = _Task(feeds, len(next(iter(feeds.values()))), time.monotonic())
        flexible = self.config.pad_variable_length_inputs
        alike = tuple(
            (name, array.dtype.str, array.ndim if flexible else array.shape[1:])
            for name, array in sorted(feeds.items())
        )
        with self._lock:
            queue = self._queues.setdefault((run, tuple(fetches), tuple(sorted(feeds))), collections.deque())
            batch = next((b for b in queue if not b.closed and b.alike == alike), None)
            if batch is not None and batch.size + task.size > self.config.execution_size:
                batch.closed, batch = True, None
            if batch is None:
                if len(queue) >= self.config.max_enqueued_batches:
                    raise ServingError(
                        grpc.StatusCode.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full; currently "
                        f"{len(queue)} batches enqueued and max_enqueued_batches is "
                        f"{self.config.max_enqueued_batches}",
                    )
                batch = _Batch(run, tuple(fetches), alike)
                queue.append(batch)
            batch.tasks.append(task)
            batch.size += task.size
            batch.closed = batch.size >= self.config.execution_size
            self._lock.notify_all()  # every thread must know when the next batch is due
        return task

    # What the threads do

    def _work(self) -> None:
        while True:
            batch = self._next()
            self._run(batch, batch.tasks)
            for task in batch.tasks:
                task.done.set()

    def _next(self) -> _Batch:
        """The batch whose turn it is, as soon as one is full or has waited long enough."""
        with self._lock:
            while True:
                waiting = [(self._due(batch), key, batch) for key, queue in self._queues.items() for batch in queue]
                now = time.monotonic()
                ready = [(key, batch) for due, key, batch in waiting if due <= now]
                if ready:
                    key, batch = min(ready, key=lambda entry: entry[1].tasks[0].enqueued)
                    self._queues[key].remove(batch)
                    if not self._queues[key]:
                        del self._queues[key]
                    return batch
                self._lock.wait(min(due for due, _, _ in waiting) - now if waiting else None)

    def _due(self, batch: _Batch) -> float:
        return 0.0 if batch.closed else batch.tasks[0].enqueued + self.config.batch_timeout_s

    def _run(self, batch: _Batch, tasks: Sequence[_Task]) -> None:
        started = time.monotonic()
        size = sum(task.size for task in tasks)
        total = self.config.padded_size(size)
        try:
            values = batch.run(_merged(tasks, total - size), batch.fetches)
            for task, part in zip(tasks, _split(values, [task.size for task in tasks], total), strict=False):
                task.values = part
        except Exception as error:  # the thread must outlive whatever a batch triggers
            if len(tasks) == 1:
                tasks[0].error = as_serving_error(error)
                return
            for task in tasks:
                self._run(batch, [task])
            return
        self._metrics.batch_sizes.add(total)
        for task in tasks:
            self._metrics.queuing_latency.add(1e6 * (started - task.enqueued), self.config.thread_pool_name)


class BatchingServable:
    """A loaded version that runs in batches.

    Args:
      loaded: the version.
      scheduler: what runs them.
    """

    def __init__(self, loaded: Loaded, scheduler: BatchScheduler) -> None:
        self.version = loaded.version
        self.signatures: Signatures = loaded.signatures
        self.close: Callable[[], None] = loaded.close
        self._run: Run = loaded.run
        self._scheduler = scheduler

    def run(self, feeds: Feeds, fetches: Sequence[str]) -> list[np.ndarray]:
        """See `Servable.run`."""
        return self._scheduler.run(self._run, feeds, fetches)
