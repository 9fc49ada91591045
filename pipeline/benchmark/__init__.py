"""`ris-mvdr benchmark`: compares estimators along one property of the scenes; docs/benchmark_suite.md."""
