"""`ris-mvdr learnability`: tests whether a training learned anything; costly stages require its verdict."""
