"""`ris-mvdr bench`: times the localizer, its parts, a training step, the simulator and sequential ML."""
