"""Simulates scenes for the builder, in this process or in several others; the scenes and their order are the same."""

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

_SCENES_A_TASK = 50  # the result of a task is 1.4 MB

Features = dict[str, Any]
Draw = Callable[[SceneConfig, str, Iterable[int]], Iterator[Features]]
"""Maps a config, a split and scene numbers to the features of these scenes, in the given order."""


def encode_scene(scene: Scene) -> Features:
    """Returns the features of a scene; complex arrays become float32 with a trailing axis of 2 (real, imaginary)."""
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
    """Simulates one scene and returns its features, see `simulate_scene`."""
    return encode_scene(simulate_scene(config, split, index))


def draw(config: SceneConfig, split: str, indices: Iterable[int]) -> Iterator[Features]:
    """Simulates one scene after the other in this process."""
    return map(functools.partial(draw_scene, config, split), indices)


@contextlib.contextmanager
def drawing_in(processes: int) -> Iterator[Draw]:
    """Yields a function like `draw` that uses several processes.

    The processes end with the block, and also if this process is killed. They simulate all scenes of a call at once,
    ahead of the caller.
    """
    spawned = multiprocessing.get_context("spawn")  # TensorFlow does not work in a forked process
    with concurrent.futures.ProcessPoolExecutor(processes, spawned, _begin) as pool:

        def ahead(config: SceneConfig, split: str, indices: Iterable[int]) -> Iterator[Features]:
            return pool.map(functools.partial(draw_scene, config, split), indices, chunksize=_SCENES_A_TASK)

        try:
            yield ahead
        finally:
            pool.shutdown(cancel_futures=True)  # in case the caller gave up the build


def _begin() -> None:
    """Prepares a new process: one thread, because each core has a process; ignores ctrl-C, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
