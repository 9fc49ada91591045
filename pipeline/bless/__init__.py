"""`ris-mvdr bless`: decides whether a model may be pushed: BLESSED or NOT_BLESSED, with the reasons; docs/runs.md."""
