"""Estimators of one kind, their predictions, the matching with the truth, and what is counted."""
