"""`python -m pipeline.view`: a local web page that shows what a model server finds, scene by scene; docs/view.md."""
