"""`python -m pipeline.run CONFIG.toml`: runs the whole pipeline; every step is cached, recorded and resumable."""
