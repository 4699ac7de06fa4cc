"""Imports OpenCV first, so that a missing system library is reported once."""

from __future__ import annotations

from fundus.exceptions import MissingDependencyError

__all__ = ["cv2"]

#: Packages of a system library in Debian and Ubuntu, and in Fedora.
_PACKAGES = {
    "libGL.so": ("libgl1", "mesa-libGL"),
    "libgthread-2.0.so": ("libglib2.0-0", "glib2"),
    "libglib-2.0.so": ("libglib2.0-0", "glib2"),
}

try:
    import cv2
except ImportError as error:
    for _library, (_debian, _fedora) in _PACKAGES.items():
        if _library in str(error):
            raise MissingDependencyError(
                f"OpenCV cannot be loaded ({error}): a library of the system is missing. Install "
                f"it (Debian, Ubuntu: apt-get install {_debian}; Fedora: dnf install {_fedora}), "
                "or take the OpenCV that needs no display: pip uninstall opencv-python, then "
                "pip install opencv-python-headless."
            ) from None
    raise
