"""Suites of simulated cells, the estimators that go through them, and the tables and figures that come out."""
