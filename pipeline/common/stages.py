"""The stages in the order of use, with a summary of each."""

STAGES = {
    "run": "run all stages from a TOML file, from simulated scenes to a deployed model",
    "data": "simulate scenes and store them as TFDS shards",
    "validate": "check stored scenes: VALID or INVALID",
    "train": "train the covariance backbone",
    "confidence": "train the confidence of each source: the probability that it is a hit",
    "learnability": "check that training improved the model: PASS or FAIL",
    "refine": "train the SpectrumRefiner",
    "tune": "search hyper-parameters of the training",
    "import_data": "convert data of other programs to a measurement file",
    "calibrate": "estimate the element gains of an installation from unlabelled scenes",
    "export": "write a SavedModel for a model server",
    "evaluate": "evaluate a localizer on simulated scenes: metrics and figures",
    "report": "write a report of a run: one HTML file",
    "bless": "check the accuracy of an exported model: BLESSED or NOT_BLESSED",
    "infra_validate": "check that a model server loads and serves an exported model: VALID or INVALID",
    "push": "deploy a model to the folder that a server watches, or roll back",
    "lineage": "show the data, options, code and parent models of a deployed model",
    "kubeflow": "compile a run to a Kubeflow pipeline",
    "mlflow": "record a run in MLflow: stages, data sets, figures and models",
    "locate": "send new scenes to a model server and compare its estimates with the truth",
    "view": "serve a local web page that shows the answers of a model server",
    "bound": "compute the accuracy that an installation can reach, before it is built",
    "doctor": "check that this machine has everything the stages need",
    "bench": "measure the run time of the localizer and its parts",
    "tradeoff": "measure accuracy against run time for faster and slower settings",
    "benchmark": "compare estimators along one property of the scenes: a table and figures",
    "reproduce": "measure the figures quoted in README and docs again: PASS or FAIL",
}

RENAMED = {"score": "confidence", "track": "mlflow"}
"""Stages that were renamed after version 0.1: old name to new name."""


def module(stage: str) -> str:
    """Name of the package of a stage, for `python -m`."""
    return f"pipeline.{stage}"


def entry_point(stage: str) -> str:
    """Name of the module with the function `main` of a stage."""
    return f"pipeline.{stage}.__main__"
