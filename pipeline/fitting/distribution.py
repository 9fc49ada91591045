"""Data-parallel training over several devices or processes: every replica gets an equal part of each batch."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.common.artifacts import Artifact, Fingerprint, making, state
from pipeline.common.digests import json_digest
from pipeline.fitting.options import FitOptions
from pipeline.fitting.workers import Strategy, Worker, this_worker

_LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
"""Errors of a collective operation when one of its workers has ended."""


class WorkerLost(RuntimeError):
    """Another worker of the training has ended."""


class _ReadOnlyArtifact(Artifact):
    """The run folder for workers that are not the chief: they read it and write nothing."""

    def begin(self, options: Any) -> None:
        pass

    def finish(self, *outputs: str) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The devices of a training, and this process. Models and optimizers are created in the scope of the strategy."""

    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    worker: Worker = Worker()

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Splits global batches of B scenes into one part of B / replicas rows per replica, in order."""

        def local_parts(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local_replicas = context.num_replicas_in_sync // context.num_input_pipelines

            def split(rows: tf.Tensor) -> tf.Tensor:
                """[B, ...] -> [replicas of this process, B / replicas, ...]."""
                size = tf.shape(rows)[0] // context.num_replicas_in_sync
                first = context.input_pipeline_id * local_replicas * size
                return tf.reshape(rows[first : first + local_replicas * size], [local_replicas, size, *rows.shape[1:]])

            return batches.map(lambda batch: tf.nest.map_structure(split, batch)).unbatch()

        return self.strategy.distribute_datasets_from_function(local_parts)

    def require_same(self, value: Any, what: str) -> None:
        """Waits for all workers; raises ValueError on each of them if they have different values, of JSON's types."""
        if self.worker.num_workers == 1:
            return
        digest = json_digest(value)
        words = tf.constant([int(digest[start : start + 5], 16) for start in range(0, 15, 5)], tf.int64)

        def sums() -> Any:
            replica = tf.distribute.get_replica_context()
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(words), words**2])

        reduced = tf.function(lambda: self.strategy.run(sums), autograph=False)()
        total, squares = (self.strategy.experimental_local_results(part)[0] for part in reduced)
        replicas = self.strategy.num_replicas_in_sync
        if bool(tf.reduce_any(total**2 != replicas * squares)):  # equal only if all words are (Cauchy-Schwarz)
            raise ValueError(f"--strategy multi_worker: expected all workers to have the same {what}, got several")

    @contextlib.contextmanager
    def making(
        self, folder: Path, fingerprint: Fingerprint, logger: logging.Logger, leftovers: tuple[str, ...]
    ) -> Iterator[Artifact]:
        """`pipeline.common.artifacts.making` on the chief; an artifact that writes nothing on the other workers."""
        self.require_same(fingerprint.digest, "options, scenes, weights and code")
        if self.worker.is_chief:
            with making(folder, fingerprint, logger, leftovers=leftovers) as run:
                yield run
        else:
            yield _ReadOnlyArtifact(folder, fingerprint, state(folder, fingerprint))
        self.require_same("the end", "end")  # no worker leaves while another one still needs it


@contextlib.contextmanager
def join_workers(options: FitOptions, logger: logging.Logger) -> Iterator[Distribution]:
    """Creates the distribution that `options.strategy` names and connects its workers.

    Raises:
      WorkerLost: another worker ended while the body of the `with` statement ran.
    """
    worker = this_worker(options.strategy)
    try:
        distribution = Distribution(_strategy(options.strategy), worker)
        replicas = distribution.strategy.num_replicas_in_sync
        if options.batch_size % replicas:
            raise ValueError(f"--batch-size: expected a multiple of the {replicas} replicas, got {options.batch_size}")
        if options.strategy != "single":
            logger.info(f"{replicas} replicas; this is worker {worker.rank + 1} of {worker.num_workers}")
        yield distribution
    except _LOST_WORKER_ERRORS as error:
        if worker.num_workers == 1:
            raise
        raise WorkerLost(
            "another worker has ended; run the same command on all workers to resume from the last checkpoint"
        ) from error


def _strategy(name: Strategy) -> tf.distribute.Strategy:
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()
