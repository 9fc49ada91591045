"""`python -m pipeline.evaluate`: evaluates a localizer on simulated scenes; docs/evaluation.md."""
