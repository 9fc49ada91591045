"""`pytest serving/conformance --target HOST:PORT`: what any TF Serving compatible server of the localizer does."""
