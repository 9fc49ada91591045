"""`ris-mvdr reproduce`: the figures of README and docs, measured anew; docs/reproduce.md."""
