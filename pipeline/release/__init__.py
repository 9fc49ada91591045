"""What leaves the pipeline: exported models."""
