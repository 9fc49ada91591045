"""`ris-mvdr validate`: checks the scenes of a data set: VALID or INVALID, with statistics."""
