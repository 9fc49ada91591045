"""`python -m pipeline.tune`: searches training options on a fast surrogate, then ranks the best at MVDR-final.

Killed at any point, the same command goes on. docs/tuning.md has the whole of it, several machines included.
"""
