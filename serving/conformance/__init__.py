"""`pytest serving/conformance --target HOST:PORT`: tests any server of the localizer that is compatible with TF Serving."""
