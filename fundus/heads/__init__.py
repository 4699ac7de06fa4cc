"""Heads: what turns features into grades."""
