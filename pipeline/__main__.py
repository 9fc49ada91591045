"""`ris-mvdr STAGE ...`, the same as `python -m pipeline.STAGE ...`; alone, it lists the stages."""

import importlib
import sys

from pipeline.common.main import ERROR

STAGES = {
    "run": "a whole run from a TOML file: from simulated scenes to a pushed model",
    "data": "simulate scenes into TFDS shards",
    "validate": "are the scenes on disk what they should be? VALID or INVALID",
    "train": "train the covariance backbone",
    "learnability": "did it learn anything? PASS or FAIL",
    "score": "teach the score what a hit looks like",
    "refine": "train the SpectrumRefiner",
    "tune": "search training options",
    "export": "write a SavedModel for a model server",
    "evaluate": "score a localizer on simulated scenes, with figures",
    "bless": "is an exported model good enough? BLESSED or NOT_BLESSED",
    "infra_validate": "does an exported model load and answer in a server? VALID or INVALID",
    "push": "a blessed and validated model to where a server takes it up, or roll back",
    "lineage": "which data, configuration, code and parents a version has",
    "locate": "send fresh scenes to a model server, true against found",
    "bench": "time the localizer and its parts",
    "tradeoff": "accuracy against time of cheaper and dearer settings",
}
"""What each does, in the order in which they are used."""


def main() -> None:
    """Command line entry point."""
    stage = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if stage in ("--help", "-h"):
        print("usage: ris-mvdr STAGE [options]; ris-mvdr STAGE --help explains them\n")
        for name, line in STAGES.items():
            print(f"  {name:14}{line}")
        return
    if stage not in STAGES:
        print(f"ris-mvdr: expected a stage, one of {', '.join(STAGES)}, got {stage!r}", file=sys.stderr)
        sys.exit(ERROR)
    sys.argv = [f"ris-mvdr {stage}", *sys.argv[2:]]
    importlib.import_module(f"pipeline.{stage}").main()


if __name__ == "__main__":
    main()
