"""Trained weights; README.md beside them is their model card."""

from pathlib import Path

PRETRAINED = Path(__file__).parent / "backbone.keras"
"""The trained backbone, for `pipeline.export --backbone` and `pipeline.train --initial`."""
