"""`audit_images`: what is wrong, or odd, in a data set before anything is trained on it."""

from fundus.audit.images import audit_images
from fundus.audit.notes import BLURRED, DARK, LEAST_FOV

__all__ = [
    "BLURRED",
    "DARK",
    "LEAST_FOV",
    "audit_images",
]
