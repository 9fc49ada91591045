"""`ris-mvdr evaluate`: scores a localizer on simulated scenes; docs/evaluation.md."""
