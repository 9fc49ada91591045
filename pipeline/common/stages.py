"""The stages, in the order in which they are used, with a summary of each."""

STAGES = {
    "run": "run all stages from a run file, from simulated scenes to a pushed model",
    "data": "simulate scenes into TFDS shards",
    "validate": "check the scenes of a data set: VALID or INVALID",
    "train": "train the backbone",
    "confidence": "train the score of a source and its error covariance",
    "learnability": "test whether a training learned anything: PASS or FAIL",
    "refine": "train the SpectrumRefiner",
    "tune": "search options of training or inference",
    "import_data": "convert data of other programs to a measurement file",
    "calibrate": "estimate the element gains of a surface from unlabelled scenes",
    "export": "write a SavedModel for a model server",
    "evaluate": "evaluate a localizer on simulated scenes",
    "report": "write one HTML page about a run",
    "bless": "decide whether a model may be pushed: BLESSED or NOT_BLESSED",
    "infra_validate": "test an exported model in a model server: VALID or INVALID",
    "push": "push a model to the folder that a server watches, or roll back",
    "lineage": "show the data, options, code and parents of a version",
    "kubeflow": "compile a run file to a Kubeflow pipeline",
    "mlflow": "record a run in MLflow",
    "locate": "send new scenes to a model server and compare true with found sources",
    "view": "show a model server at work on a local page",
    "bound": "compute the accuracy that an installation can reach, before it is built",
    "doctor": "check the environment",
    "bench": "time the localizer and its parts",
    "tradeoff": "measure accuracy against time",
    "benchmark": "compare estimators on scenes that differ in one setting",
    "reproduce": "measure the figures of README and docs again: PASS or FAIL",
}

RENAMED = {"score": "confidence", "track": "mlflow"}
"""Renamed stages: name in version 0.1 to new name."""


def module(stage: str) -> str:
    """Package of a stage, which `python -m` runs."""
    return f"pipeline.{stage}"


def entry_point(stage: str) -> str:
    """Module with the `main` of a stage."""
    return f"pipeline.{stage}.__main__"
