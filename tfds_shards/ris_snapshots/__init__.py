"""The ris_snapshots data set."""
