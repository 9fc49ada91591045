"""`ris-mvdr benchmark`: compares estimators on scenes that differ in one setting; docs/benchmark_suite.md."""
