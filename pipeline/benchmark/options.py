"""Options of `ris-mvdr benchmark`."""

from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from models.checked import AtLeast1, stage_options
from models.weights import PRETRAINED
from pipeline.benchmark.names import FIXED_NUMBER, KNOWN, EstimatorName, SuiteName, default_estimators

_SCENES, _QUICK_SCENES = 200, 20


@stage_options(frozen=True)
class BenchmarkOptions:
    """Runs estimators through simulated scenes that differ in one setting and writes a table and figures.

    Run again after a kill, it goes on with the cells that are missing.
    """

    suite: SuiteName
    """What is varied."""
    output_dir: Path
    """Where results.csv, results.json, figures/, cells/, config.json and logs/ go."""
    estimators: tuple[EstimatorName, ...] = ()
    """What runs; left out, all but ours_fast, ours_thorough and chance, in the suite sources with those that are told
    the number."""
    quick: bool = False
    """20 scenes a cell."""
    scenes: AtLeast1 | None = None
    """Scenes a cell; left out, 200."""
    batch_size: AtLeast1 = 10
    """Scenes a call; time is measured without the first call."""
    seed: Annotated[int, Interval(ge=0, le=3999)] = 0
    """Which scenes: 0 has those the stored test sets begin with, any other its own."""
    backbone: Path = PRETRAINED
    """The trained weights of "ours"; left out, the pretrained weights."""

    def __post_init__(self) -> None:
        if self.quick and self.scenes not in (None, _QUICK_SCENES):
            raise ValueError(f"--scenes: expected none with --quick, got {self.scenes}")
        object.__setattr__(self, "scenes", self.scenes_a_cell)
        if not self.estimators:
            object.__setattr__(self, "estimators", default_estimators(self.suite))
        if len(set(self.estimators)) < len(self.estimators):
            raise ValueError(f"--estimators: expected each once, got {' '.join(self.estimators)}")
        told = [name for name in self.estimators if name in KNOWN]
        if told and self.suite not in FIXED_NUMBER:
            raise ValueError(
                f"--estimators: {told[0]} needs a suite of a fixed number of sources, {' or '.join(FIXED_NUMBER)}, "
                f"got {self.suite}"
            )

    @property
    def scenes_a_cell(self) -> int:
        """`scenes`, or what it is where it is left out."""
        if self.scenes is not None:
            return self.scenes
        return _QUICK_SCENES if self.quick else _SCENES
