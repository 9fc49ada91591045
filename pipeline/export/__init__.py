"""`python -m pipeline.export`: writes a SavedModel for a model server."""
