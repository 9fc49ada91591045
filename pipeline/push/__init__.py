"""`python -m pipeline.push`: a blessed and validated model into the folder a server watches; or an earlier one back."""
