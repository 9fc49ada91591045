"""`ris-mvdr bless`: decides whether a model may be pushed: BLESSED or NOT_BLESSED, with each reason.

The stage evaluates the exported model and the latest blessed one on test scenes that are reserved for it, and checks
the thresholds. These scenes are the last ones of the split; `python -m pipeline.evaluate` takes the first ones.
"""
