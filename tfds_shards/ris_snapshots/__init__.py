"""The data set ris_snapshots."""
