"""Backbones: built, cut at the freeze boundary, and their frozen work done once."""
