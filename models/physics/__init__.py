"""The physical model: surface geometry, steering vectors, the measurement, R_eff and the path-loss law."""
