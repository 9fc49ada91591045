"""What the world does: the surface, the steering vector, the measurement, R_eff, the path-loss law."""
