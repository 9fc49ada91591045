"""`ris-mvdr view`: shows a model server at work on a local page, scene by scene; docs/view.md."""
