"""Options of `ris-mvdr evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from models.checked import AtLeast1, stage_options
from models.weights import PRETRAINED
from pipeline.common.weights import WeightsOptions
from pipeline.scenes.installations import ScenesOptions


@stage_options(frozen=True)
class EvaluateOptions(WeightsOptions, ScenesOptions):
    """Scores a localizer on simulated scenes and writes metrics, matches and figures.

    It scores the localizer with its pretrained weights, or with --backbone, or what one of --saved-model, --target,
    --spectrum-of, --baseline, --oracle and --chance names.
    """

    output_dir: Path
    """Where metrics.json, scenes.npz, matches.csv, config.json, figures/, spectra.npz and logs/ go."""
    saved_model: Path | None = None
    """A SavedModel, or the folder of its versions, of which the latest is taken."""
    target: str | None = None
    """HOST:PORT of a model server."""
    model_name: str = "ris_localizer"
    """The model's name on that server."""
    spectrum_of: Path | None = None
    """A backbone.keras: MVDR on its R_pred alone, sources read off the spectrum, nothing from the snapshots after."""
    refiner: Path | None = None
    """With --spectrum-of: a refiner.keras, off whose heat map the sources are read."""
    baseline: Literal["sequential_ml", "back_projection"] | None = None
    """A classical estimator: sequential maximum likelihood off the grid, or peaks of the back-projected power."""
    noise_inflation: float = 0.0
    """With --baseline sequential_ml: raises the noise power by this share of the signal's power, against channels and
    phases that are not as told."""
    oracle: bool = False
    """MVDR on the true covariance through the same detection: the ceiling."""
    chance: bool = False
    """Uniform random guesses: the floor."""
    calibration: Path | None = None
    """A calibration file of `python -m pipeline.calibrate`, applied to what the estimator is told."""
    config: str = "l64_m64"
    """Set of scenes, as for `python -m pipeline.data`."""
    split: str = "test"
    """Split of the scenes."""
    scenes: AtLeast1 = 500
    """How many scenes, the first ones of the split."""
    batch_size: AtLeast1 = 20
    """Scenes a call."""
    compare_with: Path | None = None
    """Output folder of another evaluation of the same scenes: reports the differences with paired intervals."""
    bounds: bool = True
    """Compare errors with the Cramer-Rao bound; of scenes that are as told."""
    figures: bool = True
    """Draw the figures."""
    spectra: Annotated[int, Interval(ge=0, le=8)] = 0
    """With --saved-model: keeps the MVDR spectra of so many scenes, the first ones, for `report`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        estimators = ("saved_model", "target", "spectrum_of", "baseline", "oracle", "chance")
        chosen = [name for name in estimators if getattr(self, name)]
        if self.untrained or self.backbone != PRETRAINED:
            chosen.append("untrained" if self.untrained else "backbone")
        if len(chosen) > 1:
            flags = ", ".join("--" + name.replace("_", "-") for name in chosen)
            raise ValueError(
                "options: expected at most one of --backbone, --untrained, --saved-model, --target, --spectrum-of, "
                f"--baseline, --oracle, --chance, got {flags}"
            )
        if self.noise_inflation and self.baseline != "sequential_ml":
            raise ValueError(
                f"--noise-inflation: needs --baseline sequential_ml, got {self.noise_inflation} without it"
            )
        if self.refiner is not None and self.spectrum_of is None:
            raise ValueError(
                f"--refiner: needs --spectrum-of, got {self.refiner} without it; exported models hold theirs"
            )
        if self.spectra and self.saved_model is None:
            raise ValueError(f"--spectra: needs --saved-model, got {self.spectra} without it")
