<<<<<<< HEAD
"""`ris-mvdr bench`: run time per scene of the localizer, its parts, a training step and the simulation."""
=======
"""`ris-mvdr bench`: times the localizer, its parts, a training step, the simulator and sequential ML."""
>>>>>>> w-opts
