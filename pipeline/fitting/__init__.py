"""What all trainings share: options, the training loop, distribution over workers, losses and targets."""
