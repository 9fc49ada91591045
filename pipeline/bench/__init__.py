"""`ris-mvdr bench`: run time per scene of the localizer, its parts, a training step and the simulation."""
