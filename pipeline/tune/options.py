"""Options of `ris-mvdr tune`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from models.checked import AtLeast0, AtLeast1, Positive, stage_options
from models.config import LocalizerConfig
from models.covariance_estimator.config import BackboneConfig
from models.multipath.config import MultipathConfig
from pipeline.scenes.installations import ScenesOptions
from pipeline.train.options import TrainOptions


@stage_options(frozen=True)
class InferenceOptions:
    """Weights and the settings of their inference, which a study of inference varies."""

    run_dir: Path
    """Folder of the trials."""
    data_dir: Path
    """Folder of the data sets."""
    config: tuple[str, ...]
    """Data set."""
    seed: int
    """Seed of untrained weights."""
    initial: Path | None
    """Weights file; None for the untrained backbone."""
    backbone: BackboneConfig
    """Shape and settings of the weights. Those of `refinement` may vary."""
    localizer: LocalizerConfig
    """Settings of the steps after R_pred, as for `ris-mvdr export`."""
    epochs: int = 0
    """Always 0: nothing is trained."""


@stage_options(frozen=True)
class TuneOptions(ScenesOptions):
    """Searches options with a fast surrogate (Stage 1), then ranks the best trials by MVDR-final (Stage 2).

    If interrupted, the same command resumes. It refuses the folder of another study.
    """

    run_dir: Path
    """Run folder: the two studies, trainings/, logs/, tensorboard/, tables, best.json and report.html."""
    learnability: Path | None = None
    """learnability.json of `ris-mvdr learnability`. The study starts only if its verdict is PASS."""
    force: bool = False
    """Starts without that verdict, and continues if candidates are indistinguishable. The report says so."""
    name: str = "L64_M64_2stage"
    """Name of the studies: NAME_stage1_surrogate and NAME_stage1_surrogate_stage2_mvdr_final."""
    config: str = "l64_m64"
    """Data set."""
    search: Literal["random", "bayesian", "hyperband"] = "random"
    """Search method of KerasTuner in Stage 1."""
    trials: AtLeast1 = 300
    """Number of trials in Stage 1."""
    top: AtLeast1 = 40
    """Number of best trials of Stage 1 that Stage 2 repeats."""
    knobs: Literal["training", "inference"] = "training"
    """Options to search. training: each trial is a training. inference: each trial evaluates the weights of --initial,
    or untrained ones."""
    space: Path | None = None
    """JSON file of option names and domains. Default: the search space of --knobs."""
    epochs: AtLeast1 = 6
    """Largest number of epochs of a trial. The learning rate falls over them."""
    steps_per_epoch: AtLeast1 = 50
    """Batches per epoch."""
    batch_size: AtLeast1 = 16
    """Scenes per batch."""
    patience: AtLeast1 = 2
    """Epochs without a better surrogate after which a training stops."""
    surrogate_scenes: AtLeast1 = 200
    """Validation scenes of the surrogate, those after --final-scenes. For inference the surrogate is MVDR-final on
    these scenes, so their number sets the cost of Stage 1."""
    probe_scenes: AtLeast1 = 200
    """Validation scenes, the first ones, to report MVDR-final of Stage 1 trials; not part of their objective."""
    final_scenes: AtLeast1 = 2_000
    """Validation scenes, the first ones, for the objective of Stage 2."""
    test_scenes: AtLeast0 = 2_000
    """Test scenes on which the best trial is finally compared with the defaults. 0 skips the comparison, and best.json
    is not written."""
    gate_after: Annotated[int, Interval(ge=2)] = 4
    """Number of candidates of Stage 2 after which it first tests whether they differ significantly."""
    lease_s: Positive = 120.0
    """Distributed: seconds without a sign of life after which a worker's trial goes to another one."""
    seed: AtLeast1 = 1
    """Seed of the search and of every training."""
    seeds: AtLeast1 = 2
    """Trainings per candidate of Stage 2 and of the defaults, with --seed and the following seeds. Their mean decides.
    For inference one evaluation is enough."""
    initial: Path | None = None
    """Weights file that all trials start from. It sets stages, width, depth and grid."""
    backbone: BackboneConfig = BackboneConfig()
    """Settings that the search space does not vary."""
    multipath: MultipathConfig = MultipathConfig()
    """Multipath estimation, as for `ris-mvdr train`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.knobs == "inference" and self.search == "hyperband":
            raise ValueError(
                "--search: expected random or bayesian with --knobs inference, got hyperband, which needs training"
            )

    @property
    def stage1(self) -> str:
        return f"{self.name}_stage1_surrogate"

    @property
    def stage2(self) -> str:
        return f"{self.stage1}_stage2_mvdr_final"

    @property
    def trainings(self) -> int:
        """Number of trainings per candidate of Stage 2."""
        return self.seeds if self.knobs == "training" else 1

    def base(self) -> TrainOptions | InferenceOptions:
        """The training, or the inference, before tuning: the defaults, and the settings that trials vary."""
        backbone = self.backbone
        if self.initial is not None:
            from models.artifacts import load_weights  # heavy, and only for given weights

            backbone = load_weights(self.initial).backbone.config
        common: dict[str, Any] = {name: getattr(self, name) for name in ("data_dir", "seed", "initial")}
        common |= {"run_dir": self.run_dir / "trainings", "config": (self.config,), "backbone": backbone}
        if self.knobs == "inference":
            return InferenceOptions(**common, localizer=LocalizerConfig(multipath=self.multipath))
        return TrainOptions(
            **common,
            **{name: getattr(self, name) for name in ("epochs", "steps_per_epoch", "batch_size", "multipath")},
            validation_scenes=self.final_scenes,
            hyperparameters=self.run_dir / "best.json",  # so --backbone.* apply to --initial
        )
