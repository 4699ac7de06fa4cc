"""Splits that do not leak."""
