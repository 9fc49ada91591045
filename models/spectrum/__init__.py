"""The MVDR spectrum of R_eff, its peaks, and the refiner that improves it."""
