"""Deployed model versions and their lineage."""
