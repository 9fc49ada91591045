"""`ris-mvdr bench`: time a scene: of the localizer, its parts, a training step, simulation, sequential ML."""
