"""Counters and histograms under TF Serving's names, in Prometheus' text format."""

import bisect
import dataclasses
import threading
from collections.abc import Sequence

_PREFIX = "/tensorflow/serving/"
_LATENCY_BOUNDS = tuple(10.0 * 1.8**step for step in range(33))  # microseconds, up to about 20 minutes
_COUNT_BOUNDS = tuple(float(2**step) for step in range(14))
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Labels = tuple[str, ...]


def _labelled(names: Sequence[str], values: Labels, *more: str) -> str:
    escaped = (value.translate(_ESCAPES) for value in values)
    pairs = [f'{name}="{value}"' for name, value in zip(names, escaped, strict=True)]
    return "{" + ",".join([*pairs, *more]) + "}"


def _number(value: float) -> str:
    return f"{value:g}"


class Counter:
    """A count that grows, one for each combination of labels."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self.name, self._labels = _PREFIX + name, labels
        self._lock = threading.Lock()
        self._counts: dict[Labels, int] = {}

    def add(self, *labels: str, count: int = 1) -> None:
        """Adds to the count of these labels."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + count

    def total(self) -> int:
        """The sum over labels."""
        with self._lock:
            return sum(self._counts.values())

    def lines(self, exposed_name: str) -> list[str]:
        """Samples in Prometheus' format."""
        with self._lock:
            return [f"{exposed_name}{_labelled(self._labels, key)} {count}" for key, count in self._counts.items()]


@dataclasses.dataclass
class _Buckets:
    counts: list[int]
    total: float = 0.0


class Histogram:
    """A distribution, one for each combination of labels.

    Args:
      name: without the prefix.
      labels: their names.
      bounds: upper bounds of the buckets, ascending; one more has no bound.
    """

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str] = (), bounds: Sequence[float] = _LATENCY_BOUNDS) -> None:
        self.name, self._labels, self._bounds = _PREFIX + name, labels, bounds
        self._lock = threading.Lock()
        self._buckets: dict[Labels, _Buckets] = {}

    def add(self, value: float, *labels: str) -> None:
        """Takes in a value."""
        with self._lock:
            buckets = self._buckets.setdefault(labels, _Buckets([0] * (len(self._bounds) + 1)))
            buckets.counts[bisect.bisect_left(self._bounds, value)] += 1
            buckets.total += value

    def lines(self, exposed_name: str) -> list[str]:
        """Samples in Prometheus' format."""
        lines = []
        with self._lock:
            for key, buckets in self._buckets.items():
                cumulative = 0
                for bound, count in zip((*map(_number, self._bounds), "+Inf"), buckets.counts, strict=True):
                    cumulative += count
                    labels = _labelled(self._labels, key, f'le="{bound}"')
                    lines.append(f"{exposed_name}_bucket{labels} {cumulative}")
                lines.append(f"{exposed_name}_sum{_labelled(self._labels, key)} {_number(buckets.total)}")
                lines.append(f"{exposed_name}_count{_labelled(self._labels, key)} {cumulative}")
        return lines


class Metrics:
    """What a server counts. Latencies are in microseconds."""

    def __init__(self) -> None:
        self.request_count = Counter("request_count", ("model_name", "status"))
        self.request_latency = Histogram("request_latency", ("model_name", "API", "entrypoint"))
        self.runtime_latency = Histogram("runtime_latency", ("model_name", "API", "runtime"))
        self.batch_sizes = Histogram("batching_session/processed_batch_size", (), _COUNT_BOUNDS)
        self.queuing_latency = Histogram("batching_session/queuing_latency", ("thread_pool_name",))

    def value(self, name: str) -> int:
        """The total of a counter by its full name; 0 for anything else."""
        return next((m.total() for m in vars(self).values() if isinstance(m, Counter) and m.name == name), 0)

    def page(self) -> str:
        """Everything in Prometheus' text format; `/` in a name becomes `:`."""
        lines = []
        for metric in vars(self).values():
            exposed_name = metric.name.replace("/", ":")
            lines += [f"# TYPE {exposed_name} {metric.kind}", *metric.lines(exposed_name)]
        return "\n".join(lines) + "\n"
