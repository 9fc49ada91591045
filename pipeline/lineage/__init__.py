"""`ris-mvdr lineage`: shows the data, options, code and parents of a version, or the versions made from a file."""
