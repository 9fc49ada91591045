"""The scene simulator, the named sets of scenes, and the TFDS builder that stores them."""
