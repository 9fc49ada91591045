"""The accuracy of the pretrained weights on a hundred scenes agrees with their model card."""

from pathlib import Path

import pytest

from models.artifacts import load_weights, moved_to, untrained
from models.config import LocalizerConfig
from models.localizer import Localizer
from models.physics.geometry import Scenario
from models.weights import PRETRAINED
from pipeline.metrics.comparison import compare
from pipeline.metrics.estimators import Estimator, localizer_estimator, weights_estimators
from pipeline.metrics.evaluation import metrics_config
from pipeline.metrics.match_counts import percentile_interval, resample_weights
from pipeline.metrics.predictions import evaluate_predictions, run_estimator
from tests.simulated import batch_of
from tfds_shards.simulator import CONFIGS

CARD = {"l64_m64": 0.909, "l64_m64_impaired": 0.876}
SCENES, CONFIDENCE = 100, 0.99
OTHER_WORLDS, FEW_SCENES = ("l64_m64_hall", "l64_m64_world"), 24
ELSEWHERE = CONFIGS["l64_m64_world"].scenario


@pytest.fixture(scope="module")
def localize() -> Estimator:
    return localizer_estimator(Localizer(load_weights(PRETRAINED)))


@pytest.mark.promise("pretrained weights")
@pytest.mark.parametrize("config", ["l64_m64", pytest.param("l64_m64_impaired", marks=pytest.mark.extended)])
def test_f1_is_that_of_the_card(localize: Estimator, config: str) -> None:
    """F1 in the model card lies within the 99 % bootstrap interval for the first hundred test scenes."""
    batches = [batch_of(SCENES // 2, CONFIGS[config], first=half * SCENES // 2) for half in (0, 1)]
    predictions = run_estimator(localize, batches, SCENES, show_progress=False)
    tally = evaluate_predictions(predictions, metrics_config(Scenario())).standard
    low, high = percentile_interval(tally.resampled(resample_weights(SCENES, 2000, seed=0)).f1, CONFIDENCE)
    assert low <= CARD[config] <= high, f"F1 {tally.total().f1} [{low}, {high}]"
    assert high - low < 0.15  # narrow enough to tell a broken estimator


@pytest.fixture(scope="module")
def estimators() -> dict[str, Estimator]:
    """Trained and untrained weights for elements with a pattern; one graph serves all installations."""
    trained = moved_to(load_weights(PRETRAINED), ELSEWHERE)
    return weights_estimators(LocalizerConfig(), "default", trained=trained, untrained=untrained(trained))


@pytest.mark.extended
@pytest.mark.parametrize("config", OTHER_WORLDS)
def test_training_costs_nothing_in_other_worlds(estimators: dict[str, Estimator], config: str) -> None:
    """Multipath alone, and all impairments together: training does not reduce F1 significantly."""
    batch = batch_of(FEW_SCENES, CONFIGS[config].at(ELSEWHERE))
    found = {
        name: evaluate_predictions(
            run_estimator(localize, [batch], FEW_SCENES, show_progress=False), metrics_config(ELSEWHERE)
        )
        for name, localize in estimators.items()
    }
    difference = compare(found["trained"], found["untrained"])["f1"]
    assert difference.interval[1] >= 0.0, difference


def test_the_card_says_so() -> None:
    card = Path(PRETRAINED).with_name("README.md").read_text()
    for f1 in CARD.values():
        assert f"{f1:.3f}" in card
