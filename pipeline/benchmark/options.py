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
    """Runs estimators on simulated scenes that differ in one setting; writes a table and figures.

    If interrupted, the same command resumes: it computes only the missing cells.
    """

    suite: SuiteName
    """Setting that varies."""
    output_dir: Path
    """Output folder: results.csv, results.json, figures/, cells/, config.json and logs/."""
    estimators: tuple[EstimatorName, ...] = ()
    """Estimators to run. Default: all but ours_fast, ours_thorough, chance and those named _known. The suites sources
    and modified_music also run the latter, which know the number of sources."""
    quick: bool = False
    """Uses 20 scenes per cell."""
    scenes: AtLeast1 | None = None
    """Scenes per cell. Default: 200."""
    batch_size: AtLeast1 = 10
    """Scenes per call. The time of the first call is not measured."""
    seed: Annotated[int, Interval(ge=0, le=3999)] = 0
    """Seed of the scenes. 0 takes those at the start of the stored test splits."""
    backbone: Path = PRETRAINED
    """Weights file of the estimator "ours"."""

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
        """Scenes per cell, with the default filled in."""
        if self.scenes is not None:
            return self.scenes
        return _QUICK_SCENES if self.quick else _SCENES
