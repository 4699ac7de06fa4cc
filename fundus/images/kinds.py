"""The kinds of changes that cameras make: their limits, and what a seed draws for each."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from fundus.parameters import invalid

#: Raised whenever the same ranges and seed give other pixels.
KINDS_VERSION = 1


@dataclass(frozen=True)
class Kind:
    """What the range of a kind of change may be, and how amounts are drawn from it.

    Parameters
    ----------
    low, high : float
        Limits of a range.
    whole : bool, default=False
        Amounts are whole numbers.
    factor : bool, default=False
        Amounts are factors, so that their logarithm is drawn uniformly.
    n_amounts : int, default=1
        How many amounts one change takes.
    """

    low: float
    high: float
    whole: bool = False
    factor: bool = False
    n_amounts: int = 1


#: Every kind by the name of its parameter, in the order in which a camera makes them.
KINDS = {
    "light": Kind(0, 1),
    "hole": Kind(0, 1),
    "halo": Kind(0, 1),
    "spot": Kind(0, 1),
    "gains": Kind(0.1, 10, factor=True, n_amounts=3),
    "tone": Kind(0.1, 10, factor=True),
    "contrast": Kind(0, 4),
    "blur": Kind(0, 100),
    "sharpness": Kind(0, 10),
    "resolution": Kind(0.01, 1),
    "noise": Kind(0, 255),
    "jpeg": Kind(1, 100, whole=True),
}


@dataclass(frozen=True)
class Drawn:
    """What a seed gives one kind of change: its amounts, and the rest of its own stream."""

    amounts: tuple[float, ...]
    rng: np.random.Generator

    @property
    def amount(self) -> float:
        """The amount of a kind that takes one."""
        return self.amounts[0]


def is_real(value: Any) -> bool:
    """Whether a value is a finite number and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_off(value: Any) -> bool:
    """Whether the value of a kind's parameter switches it off: None or 0."""
    return value is None or (is_real(value) and value == 0)


def check_range(owner: object, name: str, value: Any) -> None:
    """Raise unless a value switches a kind off or is a range within its limits.

    Raises
    ------
    InvalidParameterError
        If it is neither.
    """
    if is_off(value):
        return
    kind = KINDS[name]
    pair = isinstance(value, tuple | list) and len(value) == 2 and all(map(is_real, value))
    whole = pair and (not kind.whole or all(isinstance(end, Integral) for end in value))
    if not whole or not kind.low <= value[0] <= value[1] <= kind.high:
        numbers = "ints" if kind.whole else "floats"
        limits = f"{kind.low:g} <= low <= high <= {kind.high:g}"
        raise invalid(
            owner, name, f"a tuple (low, high) of {numbers} with {limits}, or None", value
        )


def key_of(ranges: Mapping[str, Any]) -> str:
    """Stable text that names the ranges of the kinds that are on.

    Examples
    --------
    >>> key_of({"tone": (0.5, 2), "jpeg": (40, 95)})
    ';kinds=1;tone=0.5,2.0;jpeg=40,95'
    >>> key_of({})
    ''
    """
    if not ranges:
        return ""
    number = {name: int if KINDS[name].whole else float for name in ranges}
    texts = [
        f"{name}={number[name](low)},{number[name](high)}" for name, (low, high) in ranges.items()
    ]
    return ";".join([f";kinds={KINDS_VERSION}", *texts])


def draw_kinds(
    ranges: Mapping[str, Any], seed: int | np.random.SeedSequence, *, at_ends: bool
) -> dict[str, Drawn]:
    """Draw the amounts of kinds, each from a stream of its own.

    A stream is seeded by the seed and the kind's name, and a range scales what was drawn, so that
    neither other kinds nor the ends of a range change what else a kind draws.

    Parameters
    ----------
    ranges : mapping of str to (low, high)
        Of the kinds that are on.
    seed : int or numpy.random.SeedSequence
    at_ends : bool
        Draw one of the two ends of each range instead of a number between.

    Examples
    --------
    >>> alone = draw_kinds({"blur": (0, 2)}, 7, at_ends=False)
    >>> both = draw_kinds({"tone": (0.5, 2), "blur": (0, 2)}, 7, at_ends=False)
    >>> alone["blur"].amount == both["blur"].amount
    True
    """
    if not isinstance(seed, np.random.SeedSequence):
        seed = np.random.SeedSequence(seed)
    drawn = {}
    for name, (low, high) in ranges.items():
        key = (*seed.spawn_key, zlib.crc32(name.encode()))
        rng = np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=key))
        parts = rng.random(KINDS[name].n_amounts).tolist()
        drawn[name] = Drawn(
            tuple(_amount(KINDS[name], low, high, part, at_ends) for part in parts), rng
        )
    return drawn


def _amount(kind: Kind, low: float, high: float, part: float, at_ends: bool) -> float:
    """Number of a range that a uniform number in [0, 1) stands for."""
    if at_ends:
        return low if part < 0.5 else high
    if kind.whole:
        return low + math.floor(part * (high - low + 1))
    if kind.factor:
        return low * (high / low) ** part
    return low + part * (high - low)
