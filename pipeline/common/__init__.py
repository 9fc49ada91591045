"""Shared parts of all stages: files, logs, options and verdicts."""
