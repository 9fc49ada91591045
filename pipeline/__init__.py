"""The stages. `ris-mvdr STAGE` is `python -m pipeline.STAGE`."""
