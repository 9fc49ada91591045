"""The live view: scenes that a model server is asked for, as a page on this machine shows them."""
