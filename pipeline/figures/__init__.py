"""Figures of evaluations, scenes and spectra, with Matplotlib and Plotly."""
