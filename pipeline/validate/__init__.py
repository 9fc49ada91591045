"""`python -m pipeline.validate`: are the scenes on disk what they should be? VALID or INVALID, with statistics.

With --measurements also whether what a server is sent looks like what was trained on.
"""
