"""Plugins found, loaded each on its own, and looked up by name; `fundus.plugins` is the door."""
