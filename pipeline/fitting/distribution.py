"""Data-parallel training over several devices or processes: every replica gets an equal part of each batch."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
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
        """Does nothing: the chief writes."""

    def finish(self, *outputs: str) -> None:
        """Does nothing: the chief writes."""


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The devices and processes of a training.

    strategy: of tf.distribute; models and optimizers are created in its scope. worker: this process.
    """

    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    worker: Worker = Worker()

    @property
    def num_replicas(self) -> int:
        """Number of parts each batch is split into."""
        return int(self.strategy.num_replicas_in_sync)

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Splits global batches of B scenes into one part of B / num_replicas rows per replica, in order."""

        def local_parts(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local_replicas = context.num_replicas_in_sync // context.num_input_pipelines

            def split(rows: tf.Tensor) -> tf.Tensor:
                """[B, ...] -> [replicas of this process, B / num_replicas, ...]."""
                size = tf.shape(rows)[0] // context.num_replicas_in_sync
                first = context.input_pipeline_id * local_replicas * size
                return tf.reshape(rows[first : first + local_replicas * size], [local_replicas, size, *rows.shape[1:]])

            return batches.map(lambda batch: tf.nest.map_structure(split, batch)).unbatch()

        return self.strategy.distribute_datasets_from_function(local_parts)

    def require_same(self, value: Any, what: str) -> None:
        """Waits for all workers and checks that they have the same value.

        Args:
          value: of types that JSON has.
          what: name of the value in the error message.

        Raises:
          ValueError: the values differ; raised on all workers.
        """
        if self.worker.num_workers == 1:
            return
        digest = json_digest(value)
        words = tf.constant([int(digest[start : start + 5], 16) for start in range(0, 15, 5)], tf.int64)

        @tf.function(autograph=False)
        def sums() -> Any:
            return self.strategy.run(lambda: _sum_over_replicas([tf.identity(words), words**2]))

        total, squares = (self.strategy.experimental_local_results(part)[0] for part in sums())
        if bool(tf.reduce_any(total**2 != self.num_replicas * squares)):  # equal only if all words are (Cauchy-Schwarz)
            raise ValueError(f"--strategy multi_worker: expected all workers to have the same {what}, got several")

    @contextlib.contextmanager
    def making(
        self, folder: Path, fingerprint: Fingerprint, logger: logging.Logger, leftovers: tuple[str, ...]
    ) -> Iterator[Artifact]:
        """`pipeline.common.artifacts.making` on the chief; an artifact that writes nothing on the other workers.

        Raises:
          Differs, Busy: as in `pipeline.common.artifacts.making`.
          ValueError: the workers have different options, scenes, weights or code.
        """
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
      ValueError: a batch size that is not a multiple of the replicas, or no valid TF_CONFIG.
      WorkerLost: another worker ended while the body of the `with` statement ran.
    """
    worker = this_worker(options.strategy)
    try:
        distribution = Distribution(_strategy(options.strategy), worker)
        replicas = distribution.num_replicas
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


def _sum_over_replicas(values: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def mean_over_replicas(values: Any) -> Any:
    """The mean over all replicas of the tensors in any nested structure; called inside a replica's step."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


def apply_same_gradients(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
) -> None:
    """Takes one optimizer step with gradients that are the same on all replicas.

    Keras sums the gradients over the replicas, so each replica passes its share of them.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    optimizer.apply_gradients(zip([gradient / replicas for gradient in gradients], variables, strict=True))
