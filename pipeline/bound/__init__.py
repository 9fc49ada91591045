"""`ris-mvdr bound`: computes the position accuracy that an installation can reach, before it is built."""
