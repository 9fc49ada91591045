"""Trained weights. README.md in this folder is their model card."""

from pathlib import Path

PRETRAINED = Path(__file__).parent / "backbone.keras"
"""File with the pretrained weights, see `models.artifacts.load_weights`."""
