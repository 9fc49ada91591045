"""`ris-mvdr data`: simulates scenes and writes them as TFDS shards."""
