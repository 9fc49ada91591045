"""`python -m pipeline.refine`: trains the SpectrumRefiner on a backbone's spectra; killed, the same command goes on."""
