"""From an exported model to a served one: blessing, infrastructure validation, pushing, lineage."""
