"""Versions of exported models, and their lineage."""
