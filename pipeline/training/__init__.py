"""What trainings share: fitting, and the models that are fitted."""
