"""`python -m pipeline.import_data`: brings measurements of other programs into the measurement file; docs/import.md."""
