"""Training of neural heads and of the backbone's layers after the cut, with Keras."""
