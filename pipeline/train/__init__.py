"""`ris-mvdr train`: trains the backbone on a data set; after a kill, the same command resumes."""
