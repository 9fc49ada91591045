"""The physical model, the estimators and the inference path. Imports nothing from `pipeline` or `serving`."""
