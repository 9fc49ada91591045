"""`python -m pipeline.export`: writes a SavedModel that a model server serves."""
