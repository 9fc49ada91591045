"""`ris-mvdr reproduce`: measures the figures quoted in README and docs again; docs/reproduce.md."""
