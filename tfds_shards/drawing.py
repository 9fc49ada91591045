"""Scenes as the builder stores them, drawn in this process or by several others: the same scenes in the same order."""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfds_shards.simulator import Scene, SceneConfig, simulate_scene

_SCENES_A_TASK = 50  # 1.4 MB to pass back

Features = dict[str, Any]
Draw = Callable[[SceneConfig, str, Iterable[int]], Iterator[Features]]
"""Of a config and split, the scenes of those numbers, in their order."""


def encode_scene(scene: Scene) -> Features:
    """A scene as the builder's features; complex arrays get a trailing axis of 2."""
    return {
        "snapshots": scene.snapshots.view(np.float32).reshape(*scene.snapshots.shape, 2),
        "channel": scene.channel.view(np.float32).reshape(*scene.channel.shape, 2),
        "code_phase_index": scene.code_phase_index,
        "snr_db": scene.snr_db,
        "num_sources": scene.num_sources,
        "azimuth": scene.azimuth,
        "elevation": scene.elevation,
        "range": scene.range_m,
        "power": scene.power,
        "index": scene.index,
    }


def draw_scene(config: SceneConfig, split: str, index: int) -> Features:
    """The scene of that number."""
    return encode_scene(simulate_scene(config, split, index))


def draw(config: SceneConfig, split: str, indices: Iterable[int]) -> Iterator[Features]:
    """One scene after the other, in this process."""
    return map(functools.partial(draw_scene, config, split), indices)


@contextlib.contextmanager
def drawing_in(processes: int) -> Iterator[Draw]:
    """`draw` by so many processes, which end with the block, or with this process should it be killed.

    They draw ahead of who asks, as many scenes as were asked for at once.
    """
    spawned = multiprocessing.get_context("spawn")  # TensorFlow does not live on in a fork
    with concurrent.futures.ProcessPoolExecutor(processes, spawned, _begin) as pool:

        def ahead(config: SceneConfig, split: str, indices: Iterable[int]) -> Iterator[Features]:
            return pool.map(functools.partial(draw_scene, config, split), indices, chunksize=_SCENES_A_TASK)

        try:
            yield ahead
        finally:
            pool.shutdown(cancel_futures=True)  # of a build that was given up


def _begin() -> None:
    """In a new process: one thread, since each core has a process; deaf to ctrl-C, which its parent answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
