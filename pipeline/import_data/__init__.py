"""`ris-mvdr import_data`: converts data of other programs to a measurement file; docs/import.md."""
