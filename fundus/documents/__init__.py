"""A run as a document to send: HTML in one file, Markdown, JSON and a model card."""
