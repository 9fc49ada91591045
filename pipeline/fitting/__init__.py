"""What all trainings share: options, the loop, workers, losses and targets."""
