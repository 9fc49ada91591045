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
    """Evaluates a localizer on simulated scenes and writes metrics, matches and figures.

    It uses the pretrained weights, or one of --backbone, --untrained, --saved-model, --target, --spectrum-of,
    --baseline, --oracle and --chance.
    """

    output_dir: Path
    """Output folder: metrics.json, scenes.npz, matches.csv, config.json, figures/, spectra.npz and logs/."""
    saved_model: Path | None = None
    """SavedModel, or a folder of versions, of which the latest is used."""
    target: str | None = None
    """HOST:PORT of a model server."""
    model_name: str = "ris_localizer"
    """Name of the model on that server."""
    spectrum_of: Path | None = None
    """Weights file: evaluates MVDR on its R_pred alone. Sources are the peaks; no later step uses snapshots."""
    refiner: Path | None = None
    """With --spectrum-of: refiner.keras; the peaks of its heat map are the sources."""
    baseline: Literal["sequential_ml", "back_projection"] | None = None
    """Classical estimator: off-grid sequential maximum likelihood, or peaks of the back-projected power."""
    noise_inflation: float = 0.0
    """With --baseline sequential_ml: raises the noise power by this fraction of the signal power, to allow for errors
    of channel and phases."""
    oracle: bool = False
    """Evaluates MVDR on the true covariance with the same detection: the upper limit."""
    chance: bool = False
    """Evaluates uniform random guesses: the lower limit."""
    calibration: Path | None = None
    """Calibration file of `ris-mvdr calibrate`, applied to the inputs of the estimator."""
    config: str = "l64_m64"
    """Data set, as for `ris-mvdr data`."""
    split: str = "test"
    """Split of the data set."""
    scenes: AtLeast1 = 500
    """Number of scenes, the first ones of the split."""
    batch_size: AtLeast1 = 20
    """Scenes per call."""
    compare_with: Path | None = None
    """Output folder of another evaluation of the same scenes, to report differences with paired intervals."""
    bounds: bool = True
    """Compares the errors with the Cramer-Rao bound, if the scenes match the model."""
    figures: bool = True
    """Draws the figures."""
    spectra: Annotated[int, Interval(ge=0, le=8)] = 0
    """With --saved-model: number of scenes, the first ones, whose spectra are kept for `ris-mvdr report`."""

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
