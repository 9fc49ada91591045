"""The stages, each `python -m pipeline.NAME`."""
