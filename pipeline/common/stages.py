"""The stages there are, in the order in which they are used, and what each does."""

STAGES = {
    "run": "the stages in turn, small: from simulated scenes to a served localizer",
    "data": "simulate scenes into TFDS shards",
    "train": "train the covariance backbone",
    "score": "teach the score what a hit looks like",
    "learnability": "did it learn anything? PASS or FAIL",
    "refine": "train the SpectrumRefiner",
    "tune": "search training options",
    "calibrate": "learn what an installation does otherwise than told, from scenes without labels",
    "export": "write a SavedModel for a model server",
    "evaluate": "score a localizer on simulated scenes, with figures",
    "locate": "send fresh scenes to a model server, true against found",
    "bench": "time the localizer and its parts",
    "tradeoff": "accuracy against time of cheaper and dearer settings",
}
