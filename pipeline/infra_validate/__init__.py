"""`python -m pipeline.infra_validate`: does an exported model load and answer in a server? VALID or INVALID."""
