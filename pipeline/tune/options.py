"""What a study is told."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from models.checked import AtLeast0, AtLeast1, Positive, stage_options
from models.config import LocalizerConfig
from models.covariance_estimator.config import BackboneConfig
from models.multipath.config import MultipathConfig
from pipeline.scenes.installations import ScenesOptions
from pipeline.train.options import TrainOptions


@stage_options(frozen=True)
class InferenceOptions:
    """Given weights and all that is not learned of their inference: what a study of inference varies."""

    run_dir: Path
    """Where its trials' folders lie."""
    data_dir: Path
    """Where the scenes lie."""
    config: tuple[str, ...]
    """Set of scenes."""
    seed: int
    """Of what is drawn in untrained weights."""
    initial: Path | None
    """A backbone.keras; None for the untrained backbone."""
    backbone: BackboneConfig
    """Shape of these weights, and their settings: those of `refinement` are free to change."""
    localizer: LocalizerConfig
    """What follows R_pred, as for `python -m pipeline.export`."""
    epochs: int = 0
    """Nothing is trained."""


@stage_options(frozen=True)
class TuneOptions(ScenesOptions):
    """Searches options on a fast surrogate (Stage 1), then ranks the best trials at MVDR-final (Stage 2).

    Killed at any point, the same command goes on where it was; in a folder of another study it refuses.
    """

    run_dir: Path
    """Where the two studies, trainings/, logs/, tensorboard/, tables, best.json and report.html go."""
    learnability: Path | None = None
    """A learnability.json of `python -m pipeline.learnability`; nothing begins unless its verdict is PASS."""
    force: bool = False
    """Goes on without that verdict, and where candidates can't be told apart; the report says so."""
    name: str = "L64_M64_2stage"
    """Stage 1 is the study NAME_stage1_surrogate, Stage 2 that name with _stage2_mvdr_final after it."""
    config: str = "l64_m64"
    """Set of scenes."""
    search: Literal["random", "bayesian", "hyperband"] = "random"
    """KerasTuner's search of Stage 1."""
    trials: AtLeast1 = 300
    """Trials of Stage 1."""
    top: AtLeast1 = 40
    """Stage 1's best trials that Stage 2 replays."""
    knobs: Literal["training", "inference"] = "training"
    """What is searched: options of trainings, a training a trial; or of inference, where a trial is an evaluation of
    the weights of --initial, or of untrained ones."""
    space: Path | None = None
    """A JSON file of option names and domains in place of the default space of the knobs."""
    epochs: AtLeast1 = 6
    """Longest training of a trial; its learning rate falls over them."""
    steps_per_epoch: AtLeast1 = 50
    """Batches an epoch."""
    batch_size: AtLeast1 = 16
    """Scenes a batch."""
    patience: AtLeast1 = 2
    """Epochs without a better surrogate after which a training ends early."""
    surrogate_scenes: AtLeast1 = 200
    """Validation scenes of the surrogate, those after --final-scenes; of inference it is MVDR-final on them, so that
    they are what makes Stage 1 cheap."""
    probe_scenes: AtLeast1 = 200
    """Validation scenes, the first ones, that show MVDR-final of every Stage 1 trial: no part of its objective."""
    final_scenes: AtLeast1 = 2_000
    """Validation scenes, the first ones, of Stage 2's objective."""
    test_scenes: AtLeast0 = 2_000
    """Test scenes on which the best trial is compared with the defaults at the end; 0 leaves that out, and with it
    best.json."""
    gate_after: Annotated[int, Interval(ge=2)] = 4
    """Candidates Stage 2 has scored when it first asks whether they can be told apart."""
    lease_s: Positive = 120.0
    """Distributed: a trial whose worker shows no sign of life for so long goes to another one."""
    seed: AtLeast1 = 1
    """Seeds the search and every training, 1 or more."""
    seeds: AtLeast1 = 2
    """Trainings of each candidate of Stage 2 and of the defaults, with --seed and those after it; their mean ranks.
    Of inference nothing is drawn: one evaluation."""
    initial: Path | None = None
    """A backbone.keras all trials start from; stages, width, depth and grid are then its own."""
    backbone: BackboneConfig = BackboneConfig()
    """What the space leaves as it is."""
    multipath: MultipathConfig = MultipathConfig()
    """As for `python -m pipeline.train`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.knobs == "inference" and self.search == "hyperband":
            raise ValueError(
                "--search: expected random or bayesian with --knobs inference, got hyperband, which trains"
            )

    @property
    def stage1(self) -> str:
        return f"{self.name}_stage1_surrogate"

    @property
    def stage2(self) -> str:
        return f"{self.stage1}_stage2_mvdr_final"

    @property
    def trainings(self) -> int:
        """Of each candidate of Stage 2."""
        return self.seeds if self.knobs == "training" else 1

    def base(self) -> TrainOptions | InferenceOptions:
        """The training, or the inference, with nothing tuned: the defaults, and what trials vary."""
        backbone = self.backbone
        if self.initial is not None:
            from models.artifacts import load_weights  # heavy, and only for given weights

            backbone = load_weights(self.initial).backbone.config
        if self.knobs == "inference":
            return InferenceOptions(
                run_dir=self.run_dir / "trainings",
                data_dir=self.data_dir,
                config=(self.config,),
                seed=self.seed,
                initial=self.initial,
                backbone=backbone,
                localizer=LocalizerConfig(multipath=self.multipath),
            )
        return TrainOptions(
            run_dir=self.run_dir / "trainings",
            data_dir=self.data_dir,
            config=(self.config,),
            epochs=self.epochs,
            steps_per_epoch=self.steps_per_epoch,
            batch_size=self.batch_size,
            validation_scenes=self.final_scenes,
            seed=self.seed,
            initial=self.initial,
            hyperparameters=self.run_dir / "best.json",  # --backbone.* hold beside --initial
            backbone=backbone,
            multipath=self.multipath,
        )
