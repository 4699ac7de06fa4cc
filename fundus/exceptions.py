"""Every error and warning of the library, and how warnings are given.

Each error is also the standard type it stands for.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_PACKAGE = str(Path(__file__).parent) + os.sep
_given: set[tuple[str, type[Warning]]] = set()


@dataclass(frozen=True)
class Mention:
    """A parameter that a message speaks of, with its value (``...`` is a list of names).

    It has an owner where the message is about it, and a text where ``name=value`` will not do.

    Examples
    --------
    >>> print(Mention("on_error", "skip"), Mention("grades", ...), Mention("path"))
    on_error='skip' grades=[…] path=
    >>> print(Mention("cv", owner="FoldEnsemble"))
    'cv' parameter of FoldEnsemble
    """

    name: str
    value: Any = None
    owner: str | None = None
    text: str = ""

    def __str__(self) -> str:
        if self.text:
            return self.text
        if self.owner is not None:
            return f"{self.name!r} parameter" + f" of {self.owner}" * bool(self.owner)
        value = "[…]" if self.value is ... else "" if self.value is None else repr(self.value)
        return f"{self.name}={value}"


class Message(str):
    """The text of an error or a warning, and the parameters whose text stands in it.

    Examples
    --------
    >>> skip = Mention("on_error", "skip")
    >>> message = Message(f"There is no image: mend it, or pass {skip}.", skip)
    >>> print(message.told(lambda mention: "--on-error skip"))
    There is no image: mend it, or pass --on-error skip.
    """

    mentions: tuple[Mention, ...]

    def __new__(cls, text: str, *mentions: Mention) -> Message:
        """Keep the mentions beside the text."""
        message = super().__new__(cls, text)
        message.mentions = mentions
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), *self.mentions)

    def told(self, spell: Callable[[Mention], str]) -> str:
        """Return the text with what `spell` makes of each mention in its place."""
        text = str(self)
        # 'grades=5' before 'grades='
        for mention in sorted(self.mentions, key=lambda mention: -len(str(mention))):
            text = text.replace(str(mention), spell(mention))
        return text


class FundusError(Exception):
    """Base of all errors that `fundus` raises on purpose."""


class InvalidParameterError(FundusError, ValueError):
    """A parameter of an estimator, function or command lies outside what it accepts."""

    @property
    def parameter(self) -> str | None:
        """Name of the parameter that the message is about; ``None`` where there are several."""
        mentions = self.args[0].mentions if self.args and isinstance(self.args[0], Message) else ()
        return next((m.name for m in mentions if m.owner is not None), None)


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


class HubError(FundusError, OSError):
    """A model on the Hub cannot be read or written: no network, no right, or no such model."""


class ResumeError(FundusError, ValueError):
    """A fit cannot go on from what a folder holds, or another process is fitting there."""


class EngineError(FundusError, RuntimeError):
    """An engine that spreads work over machines cannot do it: no answer, or unequal workers."""


class WriteError(FundusError, OSError):
    """A file or a folder cannot be written; what was there before is as it was."""


class ExportError(FundusError, ValueError):
    """A model, or a part of it, cannot be written for use without this library."""


class MissingDependencyError(FundusError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class BackendError(FundusError, RuntimeError):
    """Keras runs on a backend other than TensorFlow."""


class FundusWarning(UserWarning):
    """Base of the library's warnings."""


class DataWarning(FundusWarning):
    """Data was usable, but something about it should be known."""


class UnknownPatientsWarning(DataWarning):
    """It is not known which images are of one patient."""


class SetAsideWarning(DataWarning):
    """Files or rows that cannot be used were set aside."""


class NearDuplicateWarning(DataWarning):
    """Nearly identical images stand on both sides of a fold."""


class PluginWarning(FundusWarning):
    """A plugin could not be loaded and was left out."""


class UnlearnedWarning(FundusWarning):
    """A training ended no better than a constant prediction."""


class UnpinnedWarning(FundusWarning):
    """A model on the Hub was named without the commit, so that another may come next time."""


class StoreWarning(FundusWarning):
    """The cache met something wrong and recovered."""


def warn_once(message: str, category: type[Warning], key: str | None = None) -> None:
    """Warn, unless this was done in this process: with the same message, or the same `key`."""
    given = (message if key is None else key, category)
    if given not in _given:
        _given.add(given)
        warnings.warn(message, category, stacklevel=3)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside this package that called it, however deep the call is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_ours(frame: FrameType) -> bool:
    """Whether code of this package runs, or what scikit-learn puts around its `fit`."""
    name = str(frame.f_globals.get("__name__", ""))
    return frame.f_code.co_filename.startswith(_PACKAGE) or name.startswith("sklearn.callback.")
