"""A normaliser ready for use: looked up, and fitted on training images if needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import BundleError
from fundus.frozen.steps import find_photometric, find_scale
from fundus.hookspecs import BackboneSpec
from fundus.plugins.registry import Entry
from fundus.runtime.identity import (
    check_normalised,
    check_photometric,
    code_identity,
    identity_of,
)

State = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Photometric:
    """uint8 RGB images to uint8 RGB images, before the network's scale.

    Parameters
    ----------
    function : str or callable
        Name of a registered photometric step, or any function of uint8 RGB images
        ``(n, height, width, 3)`` that returns uint8 of the same shape.
    state : tuple of (str, value), default=()
        Result of fitting, such as the mean of the training corpus.
    """

    function: str | Callable[..., Any]
    state: State = ()

    @property
    def call(self) -> Callable[..., Any]:
        """The function itself, looked up if it is a name."""
        if isinstance(self.function, str):
            return find_photometric(self.function).spec.apply
        return self.function

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Run the step on a batch, uint8 RGB, 0–255, of shape (n, height, width, 3).

        Raises
        ------
        DataError
            If the function returns another shape or dtype.
        """
        output = self.call(images, **dict(self.state))
        return check_photometric(output, images, name=str(self.function))

    def key(self) -> str:
        """Identity of the function and its state, for cache keys."""
        return f"{identity_of(self.call, check_photometric)} {self.state!r}"


@dataclass(frozen=True)
class Normaliser:
    """uint8 RGB images to the network's float32 input: a photometric step, if any, then a scale.

    Parameters
    ----------
    function : str or callable
        The scale: name of a registered one, or any function of uint8 RGB images
        ``(n, height, width, 3)`` that returns float32 of the same shape.
    state : tuple of (str, value), default=()
        Result of fitting the scale.
    photometric : Photometric or None, default=None
        The step that runs before the scale.
    """

    function: str | Callable[..., Any]
    state: State = ()
    photometric: Photometric | None = None

    @property
    def call(self) -> Callable[..., Any]:
        """The scale itself, looked up if it is a name."""
        if isinstance(self.function, str):
            return find_scale(self.function).spec.apply
        return self.function

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise a batch, uint8 RGB, 0–255, of shape (n, height, width, 3).

        Raises
        ------
        DataError
            If a function returns another shape or dtype, or values that are not finite.
        """
        if self.photometric is not None:
            images = self.photometric.apply(images)
        output = self.call(images, **dict(self.state))
        return check_normalised(output, images, name=str(self.function))

    def key(self) -> str:
        """Identity of the functions and their states, for cache keys."""
        scale = f"{identity_of(self.call)} {self.state!r}"
        # without a photometric step the key is as in earlier releases, so that caches stay valid
        return scale if self.photometric is None else f"{self.photometric.key()} {scale}"


def fit_normaliser(
    scale: str | Callable[..., Any],
    batches: Callable[[], Iterable[NDArray[np.uint8]]],
    *,
    photometric: str | Callable[..., Any] | None = None,
) -> Normaliser:
    """Fit the steps that need training images.

    Parameters
    ----------
    batches : callable
        Returns the training images in batches; called only for a step that is fitted.

    Raises
    ------
    UnknownNameError
        If no preprocessor has a given name.
    InvalidParameterError
        If one is of the wrong kind.
    """
    if photometric is None:
        return Normaliser(scale, _fit(scale, find_scale, batches))
    step = Photometric(photometric, _fit(photometric, find_photometric, batches))
    # the scale is fitted on images after the photometric step
    state = _fit(scale, find_scale, lambda: (step.apply(batch) for batch in batches()))
    return Normaliser(scale, state, step)


def _fit(
    function: str | Callable[..., Any],
    find: Callable[[str], Entry],
    batches: Callable[[], Iterable[NDArray[np.uint8]]],
) -> State:
    fit = find(function).spec.fit if isinstance(function, str) else None
    if fit is None:
        return ()
    return tuple(sorted((name, _plain(value)) for name, value in fit(batches()).items()))


def normaliser_record(normaliser: Normaliser, spec: BackboneSpec) -> dict[str, Any]:
    """Return, without code, where a loaded model finds its scale and its photometric step.

    Returns
    -------
    dict
        ``"normalise"``, the scale's registered name or ``"backbone"`` for a function of the
        backbone's record; ``"normaliser_from"`` and ``"normaliser_version"``, the package a
        registered one comes with; ``"state"``; and ``"photometric"``, ``None`` or a dict of the
        step's ``"name"``, ``"distribution"``, ``"version"`` and ``"state"``.

    Raises
    ------
    BundleError
        If a function has no registered name.
    """
    step = normaliser.photometric
    return {
        **_scale_record(normaliser.function, spec),
        "state": [[name, value] for name, value in normaliser.state],
        "photometric": None if step is None else _photometric_record(step),
    }


def _scale_record(function: str | Callable[..., Any], spec: BackboneSpec) -> dict[str, str]:
    if isinstance(function, str):
        entry = find_scale(function)
        return {
            # the full name, since another plugin may offer the short one later
            "normalise": entry.lasting_name,
            "normaliser_from": entry.distribution,
            "normaliser_version": metadata.version(entry.distribution),
        }
    # compared by code, since an unpickled partial is not equal to the original
    if callable(spec.normalise) and code_identity(function) == code_identity(spec.normalise):
        return {"normalise": "backbone", "normaliser_from": "", "normaliser_version": ""}
    raise BundleError(
        f"The normaliser {function!r} cannot be saved without code: register it as a preprocessor "
        "through a plugin and pass its name."
    )


def _photometric_record(step: Photometric) -> dict[str, Any]:
    if not isinstance(step.function, str):
        raise BundleError(
            f"The photometric step {step.function!r} cannot be saved without code: register it as "
            "a preprocessor of kind 'photometric' through a plugin and pass its name."
        )
    entry = find_photometric(step.function)
    return {
        "name": entry.lasting_name,
        "distribution": entry.distribution,
        "version": metadata.version(entry.distribution),
        "state": [[name, value] for name, value in step.state],
    }


def _plain(value: Any) -> Any:
    return tuple(float(v) for v in value) if np.ndim(value) else float(value)
