"""`ris-mvdr report`: one page of a run, a single HTML file that needs no network; docs/report.md."""
