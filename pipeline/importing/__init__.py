"""Measurements in the formats that others write: a map says what is where, and a measurement file comes of it."""
