"""`python -m pipeline.view`: a local page that shows a model server at work, scene by scene; docs/view.md."""
