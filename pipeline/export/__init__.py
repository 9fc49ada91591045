"""`ris-mvdr export`: writes a SavedModel for a model server."""
