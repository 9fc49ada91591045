"""`ris-mvdr tradeoff`: F1 against run time of trained, untrained and MVDR-only localizers."""
