"""Multipath: finds reflected paths by the symbols of their source, and estimates them as part of that source."""
