"""`python -m pipeline.calibrate`: estimates element gains that differ from their nominal values; docs/calibrate.md."""
