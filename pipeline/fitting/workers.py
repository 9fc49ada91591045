"""The position of this process among the workers of a training, read from TF_CONFIG without importing TensorFlow."""

import json
import os
from typing import Literal, NamedTuple

Strategy = Literal["single", "mirrored", "multi_worker"]


class Worker(NamedTuple):
    """This process, by its rank among the workers of a training; rank 0 is the chief."""

    rank: int = 0
    num_workers: int = 1

    @property
    def is_chief(self) -> bool:
        """True for the process that validates and writes files."""
        return self.rank == 0


def this_worker(strategy: Strategy) -> Worker:
    """The position of this process; a training without "multi_worker" has a single worker."""
    if strategy != "multi_worker":
        return Worker()
    given = os.environ.get("TF_CONFIG")
    try:
        config = json.loads(given or "")
        cluster, task = config["cluster"], config["task"]
        tasks = [(job, index) for job in ("chief", "worker") for index in range(len(cluster.get(job, ())))]
        return Worker(tasks.index((task["type"], int(task["index"]))), len(tasks))
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = 'TF_CONFIG with "cluster" and a "task" that is a "chief" or "worker" of it'
        raise ValueError(f"--strategy multi_worker: expected {expected}, got {given or 'none'}") from None
