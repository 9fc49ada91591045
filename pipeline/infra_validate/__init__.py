"""`ris-mvdr infra_validate`: tests whether an exported model loads and answers in a server: VALID or INVALID."""
