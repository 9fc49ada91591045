"""Metrics of answers against true sources, and the estimators that give the answers."""
