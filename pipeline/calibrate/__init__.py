"""`python -m pipeline.calibrate`: learns what an installation does otherwise than told; docs/calibrate.md."""
