"""Stable names for functions, so that a changed function changes the cache keys built on it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DataError

_SIMPLE = (type(None), type(...), bool, int, float, complex, str, bytes)


def check_normalised(output: Any, images: NDArray[np.uint8], *, name: str) -> NDArray[np.float32]:
    """Check the output of a normaliser and return it as float32.

    Parameters
    ----------
    output : array-like of float, shape (n, height, width, 3)
        Output of the normaliser for `images`.
    images : ndarray of uint8, shape (n, height, width, 3)
    name : str
        Name of the normaliser, for messages.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Raises
    ------
    DataError
        If `output` has another shape, is not of floating-point dtype (arithmetic on uint8 wraps
        round), or holds values that are not finite.

    Examples
    --------
    >>> images = np.zeros((1, 2, 2, 3), np.uint8)
    >>> check_normalised(images - 128, images, name="wraps")
    Traceback (most recent call last):
    ...
    fundus.exceptions.DataError: The normaliser 'wraps' must return floating-point values; ...
    """
    where = f"The normaliser {name!r} must return"
    values = _of_same_shape(output, images, where)
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(
            f"{where} floating-point values; got {values.dtype}: convert the images to float32 "
            "before any arithmetic, which wraps round in uint8."
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and raises below
        values = values.astype(np.float32, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argwhere(~finite)[0, 0])
        raise DataError(
            f"{where} finite values; got {int((~finite).sum())} that are nan or infinite, the "
            f"first in image {row} of the batch: check for a division by zero."
        )
    return values


def check_photometric(output: Any, images: NDArray[np.uint8], *, name: str) -> NDArray[np.uint8]:
    """Check the output of a photometric step and return it.

    Parameters
    ----------
    output : ndarray of uint8, shape (n, height, width, 3)
        Output of the step for `images`.
    images : ndarray of uint8, shape (n, height, width, 3)
    name : str
        Name of the step, for messages.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)

    Raises
    ------
    DataError
        If `output` has another shape or dtype.

    Examples
    --------
    >>> images = np.zeros((1, 2, 2, 3), np.uint8)
    >>> check_photometric(images / 255, images, name="mine")
    Traceback (most recent call last):
    ...
    fundus.exceptions.DataError: The photometric step 'mine' must return uint8; got float64: ...
    """
    where = f"The photometric step {name!r} must return"
    values = _of_same_shape(output, images, where)
    if values.dtype != np.uint8:
        raise DataError(
            f"{where} uint8; got {values.dtype}: round and clip, by np.clip(np.rint(values), 0, "
            "255).astype(np.uint8). The scale that the network needs follows by itself; a function "
            "that makes the network's own input is passed as 'normalise'."
        )
    return values


def _of_same_shape(output: Any, images: NDArray[np.uint8], where: str) -> NDArray[Any]:
    values = np.asarray(output)
    if values.shape != images.shape:
        raise DataError(
            f"{where} an array of the shape it was given, {images.shape}; got shape "
            f"{values.shape}: check its axes."
        )
    return values


def code_identity(function: Callable[..., Any]) -> str:
    """SHA-256, in hex, that names a callable by its code, constants, closure and arguments.

    Functions of the same module that it calls, and constants of its module that it reads, are
    part of the name; functions of other modules are part of it by their name only. The name is
    the same in every process of one Python version.

    Parameters
    ----------
    function : callable
        A function, lambda, `functools.partial`, method, class or callable object.

    Examples
    --------
    >>> code_identity(lambda x: x + 1) == code_identity(lambda x: x + 2)
    False
    """
    return _describe(function, {}).hex()


def identity_of(
    function: Callable[..., Any], check: Callable[..., NDArray[Any]] = check_normalised
) -> str:
    """SHA-256, in hex, that names a normaliser by its code and its output for a fixed probe batch.

    A function that cannot be called with images alone, such as `corpus_mean` without its
    ``mean``, is named by its code only: bind the arguments with `functools.partial`, or add them
    to the key.

    Parameters
    ----------
    function : callable
        uint8 RGB images, shape (n, height, width, 3), to float32 of the same shape; to uint8
        if it is a photometric step.
    check : callable, default=check_normalised
        `check_photometric` for a photometric step.

    Raises
    ------
    DataError
        If the function breaks the contract of a normaliser on the probe batch.

    Examples
    --------
    >>> from functools import partial
    >>> from fundus.preprocessing.functions import corpus_mean
    >>> first = identity_of(partial(corpus_mean, mean=[1.0, 2.0, 3.0]))
    >>> first == identity_of(partial(corpus_mean, mean=[1.0, 2.0, 4.0]))
    False
    """
    digest = hashlib.sha256(bytes.fromhex(code_identity(function)))
    if _takes_images_alone(function):
        images = probe_batch()
        name = getattr(function, "__name__", None) or repr(function)
        output = check(function(images.copy()), images, name=name)
        digest.update(np.ascontiguousarray(output).tobytes())
    return digest.hexdigest()


def _takes_images_alone(function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def probe_batch() -> NDArray[np.uint8]:
    """Return two images of noise and one of gradients, uint8, shape (3, 32, 32, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, 32).astype(np.uint8), (32, 32))
    gradient = np.dstack([ramp, ramp.T, ramp[::-1, ::-1]])
    return np.concatenate([noise, gradient[None]])


def _describe(thing: Any, seen: dict[int, tuple[Any, bytes]]) -> bytes:
    """Digest of one object; `seen` holds earlier objects, and keeps them alive."""
    if id(thing) in seen:
        return seen[id(thing)][1]
    seen[id(thing)] = thing, b"cycle"
    digest = hashlib.sha256(type(thing).__qualname__.encode())
    for part in _parts(thing, lambda inner: _describe(inner, seen)):
        digest.update(len(part).to_bytes(8, "big") + part)
    seen[id(thing)] = thing, digest.digest()
    return digest.digest()


def _parts(thing: Any, describe: Callable[[Any], bytes]) -> Iterable[bytes]:
    if isinstance(thing, _SIMPLE):
        return [repr(thing).encode()]
    if isinstance(thing, os.PathLike):  # its own attributes hold what it has computed so far
        return [os.fsencode(thing)]
    if isinstance(thing, np.ndarray | np.generic):
        array = np.asarray(thing)
        values = describe(array.tolist()) if array.dtype.hasobject else array.tobytes()
        return [f"{array.dtype.str}{array.shape}".encode(), values]
    if isinstance(thing, tuple | list):
        return map(describe, thing)
    if isinstance(thing, set | frozenset):
        return sorted(map(describe, thing))  # the order of a set differs between processes
    if isinstance(thing, dict | types.MappingProxyType):
        return sorted(describe(key) + describe(value) for key, value in thing.items())
    if isinstance(thing, types.CodeType):
        names = thing.co_names, thing.co_varnames, thing.co_consts
        return [thing.co_code, *map(describe, names)]
    if isinstance(thing, types.CellType):
        return _cell_parts(thing, describe)
    if isinstance(thing, types.FunctionType):
        defaults = thing.__defaults__, thing.__kwdefaults__
        inner = thing.__code__, *defaults, thing.__closure__, _globals_read(thing)
        return [_name(thing), *map(describe, inner)]
    if isinstance(thing, types.MethodType):
        return map(describe, (thing.__func__, thing.__self__))
    if isinstance(thing, functools.partial):
        return map(describe, (thing.func, thing.args, thing.keywords))
    if isinstance(thing, types.ModuleType | type):
        return [_name(thing)]
    cls = type(thing)
    if isinstance(said := getattr(cls, "code_identity", None), types.FunctionType):
        # a large object, such as a network's weights, that has its own digest
        return [_name(cls), describe(_methods(cls)), said(thing).encode()]
    return [_name(cls), _name(thing), describe(_methods(cls)), describe(_state(thing))]


def _cell_parts(cell: types.CellType, describe: Callable[[Any], bytes]) -> Iterable[bytes]:
    try:
        return [describe(cell.cell_contents)]
    except ValueError:  # the variable is not assigned yet
        return []


def _name(thing: Any) -> bytes:
    module = getattr(thing, "__module__", None)
    return f"{module}.{getattr(thing, '__qualname__', getattr(thing, '__name__', ''))}".encode()


def _methods(cls: type) -> dict[str, Any]:
    """Functions of a class and of its bases in the same module."""
    return {
        f"{base.__qualname__}.{name}": value
        for base in cls.__mro__
        if base.__module__ == cls.__module__
        for name, value in vars(base).items()
        if isinstance(value, types.FunctionType)
    }


def _state(thing: Any) -> dict[str, Any]:
    slots = [
        name
        for cls in type(thing).__mro__
        for name in np.atleast_1d(vars(cls).get("__slots__", ())).tolist()
        if name not in {"__dict__", "__weakref__"} and hasattr(thing, name)
    ]
    return {name: getattr(thing, name) for name in slots} | getattr(thing, "__dict__", {})


def _globals_read(function: types.FunctionType) -> dict[str, Any]:
    """Constants and functions of its own module that a function, or its inner code, uses."""
    names: set[str] = set()
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        names.update(code.co_names)
        pending += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    found = {n: function.__globals__[n] for n in names if n in function.__globals__}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, (*_SIMPLE, tuple, list, np.ndarray, np.generic))
        or (isinstance(value, types.FunctionType) and value.__module__ == function.__module__)
    }
