"""`ris-mvdr run CONFIG.toml`: runs the whole pipeline; every step is cached, recorded and resumable."""
