"""`ris-mvdr doctor`: checks that everything the stages need is in place; one line per check."""
