"""Trained weights; README.md beside them is their model card."""

from pathlib import Path

PRETRAINED = Path(__file__).parent / "backbone.keras"
"""The trained backbone, for `pipeline.export --backbone` and `pipeline.train --initial`."""
PRETRAINED_REFINER = Path(__file__).parent / "refiner.keras"
"""The refiner trained on that backbone's spectra, for `pipeline.export --refiner`."""
