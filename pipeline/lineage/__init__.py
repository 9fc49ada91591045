"""`ris-mvdr lineage`: shows the data, options, code and stages behind a version, or the reverse."""
