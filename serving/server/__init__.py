"""The embedded model server: TF Serving's gRPC and REST APIs for SavedModels, in Python."""
