"""Where this process stands among the workers of a training; read off TF_CONFIG, without TensorFlow."""

import json
import os
from typing import Literal, NamedTuple

Strategy = Literal["single", "mirrored", "multi_worker"]


class Place(NamedTuple):
    """rank: of this process among the workers; the first, 0, is the chief, who writes. workers: how many there are."""

    rank: int
    workers: int

    @property
    def is_chief(self) -> bool:
        """Whether this process validates and writes."""
        return self.rank == 0


def place(strategy: Strategy) -> Place:
    """Where this process stands; alone but under "multi_worker".

    Raises:
      ValueError: TF_CONFIG is not there, or does not say it.
    """
    if strategy != "multi_worker":
        return Place(0, 1)
    given = os.environ.get("TF_CONFIG")
    try:
        config = json.loads(given or "")
        cluster, task = config["cluster"], config["task"]
        tasks = [(job, index) for job in ("chief", "worker") for index in range(len(cluster.get(job, ())))]
        return Place(tasks.index((task["type"], int(task["index"]))), len(tasks))
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = 'TF_CONFIG with "cluster" and a "task" that is a "chief" or "worker" of it'
        raise ValueError(f"--strategy multi_worker: expected {expected}, got {given or 'none'}") from None
