"""`ris-mvdr infra_validate`: tests an exported model in a model server. The verdict is VALID or INVALID."""
