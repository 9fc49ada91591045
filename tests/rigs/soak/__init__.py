"""Long checks of the embedded server: versions pushed under load, hostile requests, an end under load."""
