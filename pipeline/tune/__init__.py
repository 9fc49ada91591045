"""`ris-mvdr tune`: searches options with a fast surrogate, then ranks the best ones by MVDR-final; docs/tuning.md."""
