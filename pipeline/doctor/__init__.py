"""`python -m pipeline.doctor`: is everything there that the stages need? A line a check."""
