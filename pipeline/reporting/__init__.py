"""One page of a run: what its folder holds, figures and tables of it, and the HTML they stand in."""
