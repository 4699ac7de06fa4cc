"""Normalisers: square uint8 images to the float32 a network expects."""
