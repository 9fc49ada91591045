"""`ris-mvdr locate`: sends new scenes to a model server and compares true with found sources."""
