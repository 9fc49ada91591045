"""`python -m pipeline.confidence`: fits the confidence score to the fraction of hits."""
