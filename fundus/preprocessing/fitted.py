"""A normaliser ready for use: looked up, fitted on training images where it needs that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import BundleError, InvalidParameterError
from fundus.hookspecs import BackboneSpec
from fundus.plugins import get_registry
from fundus.preprocessing.identity import check_normalised, code_identity, identity_of


@dataclass(frozen=True)
class Normaliser:
    """uint8 RGB images to the network's float32 input.

    Parameters
    ----------
    function : str or callable
        Name of a registered preprocessor, or any function of uint8 RGB images
        ``(n, height, width, 3)`` that returns float32 of the same shape.
    state : tuple of (str, value), default=()
        What fitting found, such as the mean of the training corpus.
    """

    function: str | Callable[..., Any]
    state: tuple[tuple[str, Any], ...] = ()

    @property
    def call(self) -> Callable[..., Any]:
        """The function itself, looked up where it goes by name."""
        if isinstance(self.function, str):
            return get_registry().find("preprocessor", self.function).spec.apply
        return self.function

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise a batch.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, height, width, 3)
            RGB, 0–255.

        Returns
        -------
        ndarray of float32, shape (n, height, width, 3)

        Raises
        ------
        DataError
            If the function returns another shape or values that are not finite.
        """
        output = self.call(images, **dict(self.state))
        return check_normalised(output, images, name=str(self.function))

    @property
    def identity(self) -> str:
        """Name of what the function does, for cache keys."""
        return f"{identity_of(self.call)} {self.state!r}"


def fit_normaliser(
    normalise: str | Callable[..., Any],
    spec: BackboneSpec,
    batches: Callable[[], Iterable[NDArray[np.uint8]]],
) -> Normaliser:
    """Find the normaliser a ``normalise=`` parameter means, and fit it if it needs to be.

    Parameters
    ----------
    normalise : str or callable
        ``"backbone"`` is the backbone's own.
    spec : BackboneSpec
    batches : callable
        Returns the training images in batches; called only for a normaliser that is fitted.

    Returns
    -------
    Normaliser

    Raises
    ------
    UnknownNameError
        If no preprocessor goes by the name.
    InvalidParameterError
        If `normalise` is neither a name nor callable.
    """
    function = spec.normalise if normalise == "backbone" else normalise
    if isinstance(function, str):
        found = get_registry().find("preprocessor", function).spec
        if found.fit is not None:
            state = found.fit(batches())
            return Normaliser(function, tuple(sorted((k, _plain(v)) for k, v in state.items())))
        return Normaliser(function)
    if not callable(function):
        raise InvalidParameterError(
            "The 'normalise' parameter must be 'backbone', the name of a preprocessor or a "
            f"function of uint8 RGB images. Got {function!r} instead."
        )
    return Normaliser(function)


def normaliser_record(normaliser: Normaliser, spec: BackboneSpec) -> dict[str, str]:
    """Say without code where a saved model finds its normaliser again.

    Parameters
    ----------
    normaliser : Normaliser
    spec : BackboneSpec

    Returns
    -------
    dict
        ``"normalise"``, a registered name or ``"backbone"`` for a function of the backbone's
        record, and ``"normaliser_from"`` and ``"normaliser_version"``, the package a registered
        one comes with.

    Raises
    ------
    BundleError
        If it is neither.
    """
    function = normaliser.function
    if isinstance(function, str):
        entry = get_registry().find("preprocessor", function)
        return {
            # in full, since another plugin may come to offer the short name
            "normalise": entry.lasting_name,
            "normaliser_from": entry.distribution,
            "normaliser_version": metadata.version(entry.distribution),
        }
    # by its code, since a partial that went through a pickle equals no other
    if callable(spec.normalise) and code_identity(function) == code_identity(spec.normalise):
        return {"normalise": "backbone", "normaliser_from": "", "normaliser_version": ""}
    raise BundleError(
        f"The normaliser {function!r} cannot be saved without code: register it as a preprocessor "
        "through a plugin and pass its name."
    )


def _plain(value: Any) -> Any:
    return tuple(float(v) for v in value) if np.ndim(value) else float(value)
