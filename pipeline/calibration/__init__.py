"""Learning an installation's persistent errors from scenes without labels: statistics, solution, tests, files."""
