"""Sets of scenes as the stages read them, and the requests a server warms up with."""
