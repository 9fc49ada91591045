"""Access to data sets for the stages, and the requests that warm up a server."""
