"""The stages there are, in the order in which they are used, and what each does."""

STAGES = {
    "run": "a whole run from a TOML file: from simulated scenes to a pushed model",
    "data": "simulate scenes into TFDS shards",
    "validate": "are the scenes on disk what they should be? VALID or INVALID",
    "train": "train the covariance backbone",
    "confidence": "teach the score what a hit looks like",
    "learnability": "did it learn anything? PASS or FAIL",
    "refine": "train the SpectrumRefiner",
    "tune": "search training options",
    "import_data": "bring measurements of other programs into the measurement file",
    "calibrate": "learn what an installation does otherwise than told, from scenes without labels",
    "export": "write a SavedModel for a model server",
    "evaluate": "score a localizer on simulated scenes, with figures",
    "report": "one page of a run, figures and all, in a single HTML file",
    "bless": "is an exported model good enough? BLESSED or NOT_BLESSED",
    "infra_validate": "does an exported model load and answer in a server? VALID or INVALID",
    "push": "take a model to where a server looks for it, or roll back",
    "lineage": "tell which data, configuration, code and parents a version has",
    "kubeflow": "write a run as a pipeline of Kubeflow",
    "mlflow": "take a run's stages, scenes, figures and models into MLflow",
    "locate": "send fresh scenes to a model server, true against found",
    "view": "a local page that shows a model server at work, scene by scene",
    "bound": "compute the accuracy that an installation can reach, before it is built",
    "doctor": "is everything there that the stages need? A line a check",
    "bench": "time the localizer and its parts",
    "tradeoff": "accuracy against time of cheaper and dearer settings",
    "benchmark": "estimators along one axis of the scenes: a table and figures",
    "reproduce": "the figures of README and docs measured anew: do they agree? PASS or FAIL",
}

RENAMED = {"score": "confidence", "track": "mlflow"}
"""Stages that had another name in version 0.1: old name to new name."""


def module(stage: str) -> str:
    """The package of a stage, which `python -m` runs."""
    return f"pipeline.{stage}"


def entry_point(stage: str) -> str:
    """The module that holds the `main` of a stage."""
    return f"pipeline.{stage}.__main__"
