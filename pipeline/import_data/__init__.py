"""`python -m pipeline.import_data`: converts data of other programs to a measurement file; docs/import.md."""
