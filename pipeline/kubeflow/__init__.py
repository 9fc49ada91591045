"""`python -m pipeline.kubeflow CONFIG.toml`: a run's file as a pipeline of Kubeflow, a container a stage."""
