"""Physics, estimators and the inference path. Imports nothing of `pipeline` or `serving`."""
