"""`ris-mvdr confidence`: fits the score of a source to the fraction of hits, and its covariance to the errors."""
