"""From a measurement to R_pred: grid stages, then off-grid atoms fitted to the likelihood."""
