"""Decides which peaks are reported, and computes positions, covariances and scores."""
