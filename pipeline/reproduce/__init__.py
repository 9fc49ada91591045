"""`ris-mvdr reproduce`: measures the figures of README and docs again and compares them; docs/reproduce.md."""
