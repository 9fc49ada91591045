"""Long tests of the model server: versions pushed under load, hostile requests, shutdown under load."""
