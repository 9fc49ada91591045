"""`ris-mvdr refine`: trains the SpectrumRefiner on a backbone's spectra; after a kill, the same command resumes."""
