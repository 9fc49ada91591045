"""`ris-mvdr report`: writes a report of a run as one HTML file that works offline; docs/report.md."""
