"""`ris-mvdr push`: copies a blessed and validated model to the folder a server watches, or rolls back."""
