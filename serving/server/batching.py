"""Dynamic batching: requests for the same signature and with the same shapes, batch axis apart, run together.

As in TF Serving, a batch runs when it is full, or when its oldest request has waited `batch_timeout_micros` and a
thread is free. The queues of models and signatures take turns. Unlike in TF Serving, requests of different shapes go
into separate batches, and a failed batch is run again in halves, so that only the request at fault fails.
"""

import collections
import dataclasses
import functools
import itertools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from serving.server.calls import NO_DEADLINE, Call, failed_precondition, invalid_argument, unavailable, unimplemented
from serving.server.metrics import Metrics
from serving.server.servable import Feeds, Run, Servable


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
    """TF Serving's BatchingParameters, with its defaults."""

    max_batch_size: int = 1000
    """Largest request, and largest batch unless `max_execution_batch_size` is smaller."""
    batch_timeout_s: float = 0.0
    """Seconds that a request waits for others to join its batch."""
    max_enqueued_batches: int = 10
    """Batches that may wait for each signature; further requests are answered UNAVAILABLE."""
    num_batch_threads: int = os.cpu_count() or 1
    """Batches that run at a time."""
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes to which batches are padded: ascending, the last equal to `max_batch_size`; empty for no padding."""
    max_execution_batch_size: int | None = None
    """Larger requests are split into parts of this size (`enable_large_batch_splitting`); None splits nothing."""

    def __post_init__(self) -> None:
        sizes, largest = self.allowed_batch_sizes, self.max_batch_size
        for field in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, field) < 1:
                raise invalid_argument(f"{field} must be positive; was {getattr(self, field)}")
        if self.batch_timeout_s < 0:
            raise invalid_argument(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_s * 1e6:.0f}")
        if not 1 <= self.execution_size <= largest:
            text = f"max_execution_batch_size must be from 1 to max_batch_size; was {self.execution_size}"
            raise invalid_argument(text)
        if any(size < 1 for size in sizes) or any(a >= b for a, b in itertools.pairwise(sizes)):
            raise invalid_argument(f"allowed_batch_sizes must be positive and increase; were {list(sizes)}")
        if sizes and sizes[-1] != largest:
            text = f"must match max_batch_size; last entry was {sizes[-1]}; expected {largest}"
            raise invalid_argument(f"Last entry in allowed_batch_sizes {text}")

    @property
    def execution_size(self) -> int:
        """Size of the largest batch that runs."""
        return self.max_batch_size if self.max_execution_batch_size is None else self.max_execution_batch_size

    def padded_size(self, size: int) -> int:
        """Returns the smallest allowed size that is at least `size`."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def batching_config(parameters: Any) -> BatchingConfig:
    """Converts a BatchingParameters message; absent fields keep their defaults.

    Raises: ServingError: INVALID_ARGUMENT for inconsistent values; UNIMPLEMENTED for pad_variable_length_inputs.
    """
    if parameters.pad_variable_length_inputs:  # invented snapshots would move the sources
        raise unimplemented("pad_variable_length_inputs is not supported; different shapes run in separate batches")
    names = ["max_batch_size", "max_enqueued_batches", "num_batch_threads", "thread_pool_name"]
    if parameters.enable_large_batch_splitting.value:
        names.append("max_execution_batch_size")
    given = {name: getattr(parameters, name).value for name in names if parameters.HasField(name)}
    if parameters.HasField("batch_timeout_micros"):
        given["batch_timeout_s"] = parameters.batch_timeout_micros.value / 1e6
    return BatchingConfig(allowed_batch_sizes=tuple(parameters.allowed_batch_sizes), **given)


@dataclasses.dataclass(eq=False)
class _Task:
    feeds: Feeds
    size: int
    call: Call
    enqueued: float = dataclasses.field(default_factory=time.monotonic)
    values: "futures.Future[list[np.ndarray]]" = dataclasses.field(default_factory=futures.Future)


@dataclasses.dataclass(eq=False)
class _Batch:
    run: Run
    fetches: tuple[str, ...]
    shapes: tuple
    tasks: list[_Task] = dataclasses.field(default_factory=list)
    size: int = 0
    closed: bool = False


def _batch_size(feeds: Feeds) -> int:
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in feeds.values()):
        raise invalid_argument("Batching Run() input tensors must have at least one dimension")
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop()


def _merged(tasks: Sequence[_Task], padding: int) -> Mapping[str, np.ndarray]:
    """Concatenates the inputs, then appends the first row of the last one `padding` times."""
    if len(tasks) == 1 and padding == 0:
        return tasks[0].feeds
    arrays = {name: [task.feeds[name] for task in tasks] for name in tasks[0].feeds}
    return {name: np.concatenate([*parts, *[parts[-1][:1]] * padding]) for name, parts in arrays.items()}


def _split(values: Sequence[np.ndarray], sizes: Sequence[int], total: int) -> list[list[np.ndarray]]:
    """Splits outputs of `total` rows into those of the requests."""
    for value in values:
        if value.ndim == 0:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if len(value) != total:
            text = "does not equal the sum of the 0th dimension sizes of the input tensors"
            raise failed_precondition(f"Batched output tensor's 0th dimension {text}")
    ends = list(itertools.accumulate(sizes, initial=0))
    return [[value[start:end] for value in values] for start, end in itertools.pairwise(ends)]


def _latest_deadline(tasks: Sequence[_Task]) -> Call:
    """Makes a call that ends at the latest deadline of the tasks."""
    remaining = [task.call.remaining_s() for task in tasks]
    return NO_DEADLINE if None in remaining else Call(max(seconds for seconds in remaining if seconds is not None))


class BatchScheduler:
    """Collects requests into batches, for all models, and runs them in its threads."""

    def __init__(self, config: BatchingConfig, metrics: Metrics) -> None:
        self.config, self._metrics = config, metrics
        self._lock = threading.Condition()
        self._queues: dict[tuple, collections.deque[_Batch]] = {}  # in the order in which they take turns
        for _ in range(config.num_batch_threads):
            threading.Thread(target=self._work, daemon=True, name=config.thread_pool_name).start()

    def run(self, run: Run, feeds: Feeds, fetches: Sequence[str], call: Call = NO_DEADLINE) -> list[np.ndarray]:
        """Returns `run(feeds, fetches, call)`, computed together with other requests for the same `run`.

        Raises: ServingError: UNAVAILABLE if the queue is full; DEADLINE_EXCEEDED; CANCELLED; or whatever `run` raises.
        """
        size = _batch_size(feeds)
        if size == 0:
            return run(feeds, fetches, call)
        most, step = self.config.max_batch_size, self.config.execution_size
        if size > most:
            raise invalid_argument(f"Task size {size} is larger than maximum input batch size {most}")
        parts = [{name: array[at : at + step] for name, array in feeds.items()} for at in range(0, size, step)]
        tasks = [_Task(part, _batch_size(part), call) for part in parts]
        try:
            for task in tasks:
                self._enqueue(run, task, fetches)
            values = [call.wait(task.values) for task in tasks]
        finally:
            for task in tasks:  # if one part has failed, the others need not run
                task.values.cancel()
        return values[0] if len(values) == 1 else [np.concatenate(column) for column in zip(*values, strict=True)]

    def _enqueue(self, run: Run, task: _Task, fetches: Sequence[str]) -> None:
        shapes = tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(task.feeds.items()))
        with self._lock:
            queue = self._queues.setdefault((run, tuple(fetches), tuple(sorted(task.feeds))), collections.deque())
            batch = next((b for b in queue if not b.closed and b.shapes == shapes), None)
            if batch is not None and batch.size + task.size > self.config.execution_size:
                batch.closed, batch = True, None
            if batch is None:
                if len(queue) >= self.config.max_enqueued_batches:
                    most = self.config.max_enqueued_batches
                    state = f"currently {len(queue)} batches enqueued and max_enqueued_batches is {most}"
                    raise unavailable(f"The batch scheduling queue to which this task was submitted is full; {state}")
                batch = _Batch(run, tuple(fetches), shapes)
                queue.append(batch)
            batch.tasks.append(task)
            batch.size += task.size
            batch.closed = batch.size >= self.config.execution_size
            self._lock.notify_all()  # every thread waits for the next due batch

    def batching(self, servable: Servable) -> Servable:
        """Returns the same version with a `run` that batches."""
        return dataclasses.replace(servable, run=functools.partial(self.run, servable.run))

    # Run by the threads

    def _work(self) -> None:
        while True:
            batch = self._next_batch()
            started = time.monotonic()
            tasks = [task for task in batch.tasks if task.values.set_running_or_notify_cancel()]
            for task in tasks:
                self._metrics.queuing_latency.add(1e6 * (started - task.enqueued), self.config.thread_pool_name)
            if tasks:
                self._run(batch, tasks)

    def _next_batch(self) -> _Batch:
        """Waits until a batch is full or has waited long enough, and takes it from the queue whose turn it is."""
        with self._lock:
            while True:
                now, soonest = time.monotonic(), float("inf")
                for key, queue in self._queues.items():
                    batch = min(queue, key=self._due_time)
                    if self._due_time(batch) <= now:
                        queue.remove(batch)
                        del self._queues[key]
                        if queue:
                            self._queues[key] = queue  # to the end of the line
                        return batch
                    soonest = min(soonest, self._due_time(batch))
                self._lock.wait(soonest - now if self._queues else None)

    def _due_time(self, batch: _Batch) -> float:
        return batch.tasks[0].enqueued + (0.0 if batch.closed else self.config.batch_timeout_s)

    def _run(self, batch: _Batch, tasks: Sequence[_Task]) -> None:
        """Gives every task its values or its error. A failed batch is halved until the task at fault is alone."""
        size = sum(task.size for task in tasks)
        total = self.config.padded_size(size)
        try:
            values = batch.run(_merged(tasks, total - size), batch.fetches, _latest_deadline(tasks))
            parts = _split(values, [task.size for task in tasks], total)
        except Exception as error:  # a failing batch must not end the thread
            if len(tasks) == 1:
                tasks[0].values.set_exception(error)
                return
            half = len(tasks) // 2
            self._run(batch, tasks[:half])
            self._run(batch, tasks[half:])
            return
        self._metrics.batch_sizes.add(total)
        for task, part in zip(tasks, parts, strict=False):
            task.values.set_result(part)
