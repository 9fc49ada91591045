"""What is read off R_eff: the MVDR spectrum, its peaks, and the refiner that cleans it."""
