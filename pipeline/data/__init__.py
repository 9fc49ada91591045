"""`python -m pipeline.data`: simulates scenes and writes them as TFDS shards."""
