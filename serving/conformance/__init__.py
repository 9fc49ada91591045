"""`pytest serving/conformance --target HOST:PORT`: tests a TF Serving compatible server of the localizer."""
