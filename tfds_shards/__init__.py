"""The simulator, the sets of scenes it fills, and the TFDS builder that writes them."""
