"""`ris-mvdr evaluate`: evaluates a localizer on simulated scenes; docs/evaluation.md."""
