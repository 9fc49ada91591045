"""Code that all stages share: command line, logs, manifests, digests and atomic file writes."""
