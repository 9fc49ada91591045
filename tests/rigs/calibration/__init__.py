"""Measurements of self-calibration: `python -m tests.rigs.calibration --help`."""
