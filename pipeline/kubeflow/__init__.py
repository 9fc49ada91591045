"""`ris-mvdr kubeflow CONFIG.toml`: compiles a run file to a Kubeflow pipeline, one container per stage."""
