"""Fitted models as one graph of Keras operations, from a picture to probabilities and severity."""
