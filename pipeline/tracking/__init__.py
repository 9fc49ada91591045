"""A run's folder as runs, data sets and models of MLflow: read off what the stages left, written beside them."""
