"""Backbones: built, cut at the freeze boundary, and pooled."""
