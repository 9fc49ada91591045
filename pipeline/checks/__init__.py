"""Stages that look at what others made and tell of it, `python -m pipeline.checks.NAME` or `ris-mvdr NAME`."""
