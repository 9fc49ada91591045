"""`python -m pipeline.lineage`: data, configuration, code and parents of a version, and the way back."""
