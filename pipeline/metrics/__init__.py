"""Metrics of estimated against true sources, and the estimators that can be evaluated."""
