"""`python -m pipeline.run CONFIG.toml`: from a file to a pushed model; every step cached, recorded and safe to kill."""
