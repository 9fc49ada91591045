"""`python -m pipeline.train`: trains the backbone on the shards; killed at any point, the same command goes on."""
