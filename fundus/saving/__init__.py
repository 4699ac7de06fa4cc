"""Fitted models as folders without pickle."""
