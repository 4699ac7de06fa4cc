"""Every error and warning of the library, and how warnings are given.

Each error is also the standard type it stands for.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parent) + os.sep
_given: set[tuple[str, type[Warning]]] = set()


class FundusError(Exception):
    """Base of all errors that `fundus` raises on purpose."""


class InvalidParameterError(FundusError, ValueError):
    """A parameter of an estimator, function or command lies outside what it accepts."""


class DataError(FundusError, ValueError):
    """A table, folder or array of images or grades cannot be used as it is."""


class InvalidGradeError(DataError):
    """A grade is missing or lies outside the scale."""


class ImageReadError(FundusError, OSError):
    """An image file is missing, empty, truncated or no image."""


class SplitError(FundusError, ValueError):
    """A cross-validation split would leak: a patient or an image stands on both sides."""


class OperatingPointError(FundusError, ValueError):
    """No threshold reaches the sensitivity or specificity that is wanted."""


class DivergedError(FundusError, FloatingPointError):
    """Numbers are not finite: a training diverged, or an image has no usable features."""


class PluginError(FundusError, RuntimeError):
    """A plugin breaks the contract."""


class UnknownNameError(FundusError, LookupError, ValueError):
    """No backbone, head or preprocessor has the given name."""


class WeightsNotAvailableError(FundusError, OSError):
    """Pretrained weights are not on this machine and cannot be downloaded from it."""


class StoreError(FundusError, OSError):
    """The cache folder cannot be read or written."""


class BundleError(FundusError, ValueError):
    """A saved model is damaged, incomplete or of an unknown format."""


class MissingDependencyError(FundusError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class BackendError(FundusError, RuntimeError):
    """Keras runs on a backend other than TensorFlow."""


class FundusWarning(UserWarning):
    """Base of the library's warnings."""


class DataWarning(FundusWarning):
    """Data was usable, but something about it should be known."""


class NearDuplicateWarning(DataWarning):
    """Nearly identical images stand on both sides of a fold."""


class PluginWarning(FundusWarning):
    """A plugin could not be loaded and was left out."""


class StoreWarning(FundusWarning):
    """The cache met something wrong and recovered."""


def warn_once(message: str, category: type[Warning]) -> None:
    """Warn, unless the same message has been given in this process.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    if (message, category) not in _given:
        _given.add((message, category))
        warnings.warn(message, category, stacklevel=3)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that called it, however deep the call is.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
