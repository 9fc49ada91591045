"""Rows of what self-calibration must show: `python -m tests.rigs.calibration --help`."""
