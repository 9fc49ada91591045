"""Estimators, and metrics that compare their answers with the true sources."""
