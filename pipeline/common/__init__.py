"""What all stages share: files written whole, logs, options, verdicts."""
