"""`python -m pipeline.benchmark`: compares estimators while one property of the scenes varies; docs/benchmark_suite.md."""
