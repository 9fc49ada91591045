"""What an evaluation leaves behind, without one: for tests of what is made of it."""

import logging
from pathlib import Path

import numpy as np

from pipeline.common.artifacts import Fingerprint, making
from pipeline.common.records import write_json
from pipeline.evaluate.options import EvaluateOptions
from pipeline.metrics.evaluation import MetricsConfig, compute_metrics
from pipeline.metrics.predictions import Predictions, evaluate_predictions, save_predictions
from tests.estimates import random_scenes

SCENES = 60


def leave_evaluation(
    folder: Path, outputs: dict[str, np.ndarray], *, bounds: bool = True, lower_db: float = 0.0
) -> None:
    """What an evaluation of `random_scenes` leaves, at an SNR that is lower by so much."""
    truth = random_scenes(SCENES, 1)
    snr_db = truth.pop("snr_db") - lower_db
    if bounds:
        truth["bound_m"] = 0.01 * truth["range_m"] ** 2 * 10.0 ** (-snr_db[:, None] / 20.0)
    predictions = Predictions(snr_db, truth, outputs)
    metrics = compute_metrics(evaluate_predictions(predictions, MetricsConfig(resamples=50)))
    with making(folder, Fingerprint("evaluate", {}, {"the model": "f" * 64}, {}), logging.getLogger("test")) as run:
        run.begin(EvaluateOptions(folder, chance=True, config="l64_m64_1_1_60", scenes=SCENES))
        save_predictions(folder / "scenes.npz", predictions)
        write_json(folder / "metrics.json", {"estimator": "a middling <one>", **metrics})
        run.finish("metrics.json", "scenes.npz")
