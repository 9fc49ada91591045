"""`ris-mvdr calibrate`: estimates element gains that differ from their nominal values; docs/calibrate.md."""
