"""`python -m pipeline.mlflow`: a run's stages, scenes, figures and models into MLflow; docs/tracking.md."""
