"""A training over several devices or processes: each replica takes its share of every batch, all end a step alike."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline.common.artifacts import Artifact, Fingerprint, making, state
from pipeline.common.digests import json_digest
from pipeline.fitting.options import FitOptions
from pipeline.fitting.workers import Place, Strategy, place

_PEER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
"""What a collective ends with when one of those that take part is gone."""


class WorkerLost(RuntimeError):
    """Another worker of the training has ended."""


class _Onlooker(Artifact):
    """The run's folder as workers see it that write nothing."""

    def begin(self, options: Any) -> None:
        """Left to the chief."""

    def finish(self, *outputs: str) -> None:
        """Left to the chief."""


class Spread:
    """What a training runs on.

    strategy: of tf.distribute; models and optimizers are made in its scope. place: of this process.
    """

    def __init__(self, strategy: tf.distribute.Strategy, place: Place) -> None:
        self.strategy, self.place = strategy, place

    @property
    def replicas(self) -> int:
        """Shares that a batch is cut into."""
        return int(self.strategy.num_replicas_in_sync)

    def batches(self, batches: tf.data.Dataset) -> Any:
        """Global batches as those of the replicas: rows in order, the first replica the first ones."""

        def shares(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = context.num_replicas_in_sync // context.num_input_pipelines

            def own(rows: tf.Tensor) -> tf.Tensor:
                """[B, ...] as [replicas of this process, B / replicas, ...]."""
                share = tf.shape(rows)[0] // context.num_replicas_in_sync
                first = context.input_pipeline_id * here * share
                return tf.reshape(rows[first : first + here * share], [here, share, *rows.shape[1:]])

            return batches.map(lambda batch: tf.nest.map_structure(own, batch)).unbatch()

        return self.strategy.distribute_datasets_from_function(shares)

    def require_same(self, value: Any, what: str) -> None:
        """Waits for all workers, and refuses where one has another value than this one.

        Args:
          value: plain data.
          what: that must be the same, for the message.

        Raises:
          ValueError: they differ, on all workers.
        """
        if self.place.workers == 1:
            return
        digest = json_digest(value)
        words = tf.constant([int(digest[start : start + 5], 16) for start in range(0, 15, 5)], tf.int64)

        @tf.function(autograph=False)
        def sums() -> Any:
            return self.strategy.run(lambda: _sum_over_replicas([tf.identity(words), words**2]))

        total, squares = (self.strategy.experimental_local_results(part)[0] for part in sums())
        if bool(tf.reduce_any(total**2 != self.replicas * squares)):  # equal only where all words are (Cauchy-Schwarz)
            raise ValueError(f"--strategy multi_worker: expected all workers to have the same {what}, got several")

    @contextlib.contextmanager
    def making(
        self, folder: Path, asked: Fingerprint, logger: logging.Logger, leftovers: tuple[str, ...]
    ) -> Iterator[Artifact]:
        """As `pipeline.common.artifacts.making` where this process is the chief; the others only look.

        Raises:
          Differs, Busy: as there.
          ValueError: the workers were told different things.
        """
        self.require_same(asked.digest, "options, scenes, weights and code")
        if self.place.is_chief:
            with making(folder, asked, logger, leftovers=leftovers) as run:
                yield run
        else:
            yield _Onlooker(folder, asked, state(folder, asked))
        self.require_same("the end", "end")  # none leaves while another needs it


@contextlib.contextmanager
def spread_over(options: FitOptions, logger: logging.Logger) -> Iterator[Spread]:
    """Joins the workers; what is done inside ends with a clear word when one of them is gone.

    Raises:
      ValueError: batches that cannot be shared out evenly, or no TF_CONFIG.
      WorkerLost: another worker ended before this one was done.
    """
    here = place(options.strategy)
    try:
        strategy = _strategy(options.strategy)
        spread = Spread(strategy, here)
        if options.batch_size % spread.replicas:
            raise ValueError(
                f"--batch-size: expected a multiple of the {spread.replicas} replicas, got {options.batch_size}"
            )
        if options.strategy != "single":
            logger.info(f"{spread.replicas} replicas; this is worker {here.rank + 1} of {here.workers}")
        yield spread
    except _PEER_ERRORS as error:
        if here.workers == 1:
            raise
        raise WorkerLost(
            "another worker has ended; the same command on all of them goes on from the last checkpoint"
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
    """Tensors of a replica's step, any structure, as the mean over all replicas."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


def apply_same(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
) -> None:
    """A step by gradients that all replicas have alike: Keras sums over replicas, so each gives its part."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    optimizer.apply_gradients(zip([gradient / replicas for gradient in gradients], variables, strict=True))
