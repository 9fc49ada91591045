"""`ris-mvdr STAGE ...`, the same as `python -m pipeline.STAGE ...`; alone, it lists the stages."""

import importlib
import sys

from pipeline.common.main import ERROR

STAGES = {
    "run": "every stage in turn, small: from simulated scenes to a served localizer",
    "data": "simulate scenes into TFDS shards",
    "train": "train the covariance backbone",
    "learnability": "did it learn anything? PASS or FAIL",
    "score": "teach the score what a hit looks like",
    "refine": "train the SpectrumRefiner",
    "tune": "search training options",
    "calibrate": "learn what an installation does otherwise than told, from scenes without labels",
    "export": "write a SavedModel for a model server",
    "evaluate": "score a localizer on simulated scenes, with figures",
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
