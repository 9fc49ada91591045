"""Counters and histograms with TF Serving's names, in the text format of Prometheus."""

import bisect
import collections
import itertools
import threading
from collections.abc import Iterator, Sequence

_PREFIX = ":tensorflow:serving:"  # TF Serving replaces `/` by `:` for Prometheus
_LATENCY_BOUNDS = tuple(10.0 * 1.8**step for step in range(33))  # microseconds, up to about 20 minutes
_COUNT_BOUNDS = tuple(float(2**step) for step in range(14))
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Labels = tuple[str, ...]


def _labelled(names: Sequence[str], values: Labels, *more: str) -> str:
    pairs = [f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)]
    return "{" + ",".join([*pairs, *more]) + "}"


class Counter:
    """A counter for each combination of label values."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str] = ()) -> None:
        self.name, self._labels = _PREFIX + name, labels
        self._lock, self._counts = threading.Lock(), collections.Counter[Labels]()

    def add(self, *labels: str) -> None:
        """Adds 1."""
        with self._lock:
            self._counts[labels] += 1

    def lines(self) -> Iterator[str]:
        """Returns the samples as text lines for Prometheus."""
        with self._lock:
            counts = list(self._counts.items())
        return (f"{self.name}{_labelled(self._labels, key)} {count}" for key, count in counts)


class Histogram:
    """A histogram for each combination of label values; `bounds` are the ascending upper bounds of its buckets."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str] = (), bounds: Sequence[float] = _LATENCY_BOUNDS) -> None:
        self.name, self._labels, self._bounds = _PREFIX + name, labels, bounds
        self._lock, self._sums = threading.Lock(), collections.defaultdict[Labels, float](float)
        self._buckets = collections.defaultdict[Labels, list[int]](lambda: [0] * (len(bounds) + 1))

    def add(self, value: float, *labels: str) -> None:
        """Adds a value."""
        with self._lock:
            self._buckets[labels][bisect.bisect_left(self._bounds, value)] += 1
            self._sums[labels] += value

    def lines(self) -> Iterator[str]:
        """Returns the samples as text lines for Prometheus."""
        with self._lock:
            found = [(key, list(itertools.accumulate(self._buckets[key])), total) for key, total in self._sums.items()]
        bounds = [*(f'le="{bound:g}"' for bound in self._bounds), 'le="+Inf"']
        for key, counts, total in found:
            for bound, count in zip(bounds, counts, strict=True):
                yield f"{self.name}_bucket{_labelled(self._labels, key, bound)} {count}"
            yield f"{self.name}_sum{_labelled(self._labels, key)} {total:g}"
            yield f"{self.name}_count{_labelled(self._labels, key)} {counts[-1]}"


class Metrics:
    """All metrics of a server. Latencies are in microseconds."""

    def __init__(self) -> None:
        self.request_count = Counter("request_count", ("model_name", "status"))
        self.request_latency = Histogram("request_latency", ("model_name", "API", "entrypoint"))
        self.runtime_latency = Histogram("runtime_latency", ("model_name", "API", "runtime"))
        self.batch_sizes = Histogram("batching_session:processed_batch_size", (), _COUNT_BOUNDS)
        self.queuing_latency = Histogram("batching_session:queuing_latency", ("thread_pool_name",))

    def page(self) -> str:
        """Returns all metrics as text for Prometheus."""
        lines: list[str] = []
        for metric in vars(self).values():
            lines += [f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return "\n".join(lines) + "\n"
