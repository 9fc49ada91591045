"""`ris-mvdr benchmark`: estimators along one axis of the scenes; docs/benchmark_suite.md."""
