"""Scores with intervals, tables and plots."""
