"""`ris-mvdr mlflow`: records the stages, scenes, metrics and models of a run in MLflow; docs/mlflow.md."""
