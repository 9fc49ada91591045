"""MVDR-final, the objective of a study: the whole localizer's answers, matched and counted by scene."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from models.localizer import Localizer
from pipeline.metrics.estimators import localizer_estimator
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.match_counts import MatchCounts
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from pipeline.tune.surrogate import Heartbeat


class Judged(NamedTuple):
    """Counts by scene, and CPU time per scene; None with fewer than two batches, as the first may pay for tracing."""

    tally: MatchCounts
    ms_per_scene: float | None


class Judge:
    """Scores localizers; one after another that differ in their weights alone share a graph, whose tracing is slow."""

    def __init__(self) -> None:
        self._last: Localizer | None = None

    def __call__(
        self, localizer: Localizer, batches: Iterable[Mapping[str, Any]], scenes: int, heartbeat: Heartbeat
    ) -> Judged:
        """Scores the localizer with its weights as they are.

        Args:
          localizer: what answers.
          batches: `scenes` scenes with the truth, in batches of one size but for the last.
          scenes: how many.
          heartbeat: called before each batch.
        """
        judged = self._with_weights_of(localizer)
        ends: list[tuple[float, int]] = []

        def timed() -> Iterator[Mapping[str, Any]]:
            done = 0
            for batch in batches:
                heartbeat()
                ends.append((time.process_time(), done))
                done += len(batch["snr_db"])
                yield batch
            ends.append((time.process_time(), done))

        predictions = run_estimator(localizer_estimator(judged), timed(), scenes, show_progress=False)
        tally = evaluate_predictions(predictions, metrics_config(judged.scenario)).standard
        (started, before), (ended, done) = ends[min(1, len(ends) - 1)], ends[-1]
        return Judged(tally, 1e3 * (ended - started) / (done - before) if done > before else None)

    def _with_weights_of(self, localizer: Localizer) -> Localizer:
        last = self._last
        if last is None or _shape(last) != _shape(localizer):
            self._last = localizer
            return localizer
        last.weights.set_weights(localizer.weights.get_weights())
        return last


def _shape(localizer: Localizer) -> tuple[Any, ...]:
    """All that a localizer's graph depends on."""
    shapes = [tuple(weight.shape) for weight in localizer.weights.weights]
    return localizer.scenario, localizer.backbone.config, localizer.config, shapes
