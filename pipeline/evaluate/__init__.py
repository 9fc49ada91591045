"""`python -m pipeline.evaluate`: scores a localizer on simulated scenes; docs/evaluation.md."""
