"""Reading sets of scenes from disk, their hashes, and the surface that a calibration belongs to."""
