"""`ris-mvdr learnability`: tests whether a training learned anything: PASS or FAIL. Costly stages require a PASS."""
