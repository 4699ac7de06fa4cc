"""`audit_images`: what is wrong, or odd, in a data set before anything is trained on it."""

from fundus.audit.images import audit_images

__all__ = [
    "audit_images",
]
