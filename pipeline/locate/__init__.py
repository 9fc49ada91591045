"""`python -m pipeline.locate`: fresh scenes through a model server in another process, true against found."""
