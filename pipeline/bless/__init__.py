"""`python -m pipeline.bless`: is a model good enough to be pushed? BLESSED or NOT_BLESSED, with each reason.

Scores an exported model, and beside it the one that is served now, on test scenes set aside for this (the last ones of
the split; `python -m pipeline.evaluate` takes the first ones), and asks what the thresholds ask.
"""
