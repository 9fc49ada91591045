"""`ris-mvdr report`: writes a page about a run: one HTML file that loads nothing from the network; docs/report.md."""
