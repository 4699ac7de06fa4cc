"""The stages of a fit, and the checks before it."""
