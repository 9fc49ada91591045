"""The embedded model server: TF Serving's gRPC and REST API on SavedModels, in Python."""
