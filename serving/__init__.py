"""Serving: an embedded server with TF Serving's API, measurement files, and the client."""
