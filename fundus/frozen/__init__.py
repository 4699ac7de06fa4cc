"""Frozen work: what the untrained part of a backbone makes of an image, done once and kept."""
