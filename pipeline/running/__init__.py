"""A whole run from one file: its options, its steps, the plan of what is left to do, and the work."""
