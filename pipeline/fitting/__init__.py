"""Shared parts of all trainings: options, the training loop, distribution over workers, losses and targets."""
