"""Frozen work: the outputs of a backbone's untrained part, computed once and kept."""
