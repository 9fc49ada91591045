"""MVDR-final, the objective of a study: the sources that the whole localizer finds, matched with the true ones."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from models.localizer import Localizer
from pipeline.metrics.estimators import localizer_estimator
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.match_counts import MatchCounts
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.tune.surrogate import Heartbeat


class Scored(NamedTuple):
    """Counts per scene, and CPU time per scene in ms; None with a single batch, which may include tracing."""

    tally: MatchCounts
    ms_per_scene: float | None


class ObjectiveScorer:
    """Scores localizers. Those that differ only in their weights share one graph, because tracing is slow."""

    def __init__(self) -> None:
        self._last: Localizer | None = None

    def __call__(self, localizer: Localizer, batches: Iterable[Mapping[str, Any]], heartbeat: Heartbeat) -> Scored:
        """Scores the localizer with its current weights on batches of one size, except the last.

        `heartbeat` is called before each batch.
        """
        scored = self._with_weights_of(localizer)
        ends: list[tuple[float, int]] = []

        def timed() -> Iterator[Mapping[str, Any]]:
            done = 0
            for batch in batches:
                heartbeat()
                ends.append((time.process_time(), done))
                done += len(batch["snr_db"])
                yield batch
            ends.append((time.process_time(), done))

        predictions = run_estimator(localizer_estimator(scored), timed(), 0, show_progress=False)
        tally = evaluate_predictions(predictions, metrics_config(scored.scenario)).standard
        (started, before), (ended, done) = ends[min(1, len(ends) - 1)], ends[-1]
        return Scored(tally, 1e3 * (ended - started) / (done - before) if done > before else None)

    def _with_weights_of(self, localizer: Localizer) -> Localizer:
        last = self._last
        if last is None or _shape(last) != _shape(localizer):
            self._last = localizer
            return localizer
        last.weights.set_weights(localizer.weights.get_weights())
        return last


def _shape(localizer: Localizer) -> tuple[Any, ...]:
    """Everything that the graph of a localizer depends on."""
    shapes = [tuple(weight.shape) for weight in localizer.weights.weights]
    return localizer.scenario, localizer.backbone.config, localizer.config, shapes
