"""One kind of change at a time, at three strengths, for scores under stress."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fundus.images.augment import Augmentation
from fundus.parameters import invalid

#: Names of the strengths 1, 2 and 3.
STRENGTHS = ("mild", "medium", "strong")

#: By kind, the ends of the range at each strength; of the warp, the parameter's value.
AMOUNTS: dict[str, tuple[Any, Any, Any]] = {
    "tone": ((0.8, 1.25), (0.65, 1.5), (0.5, 2.0)),
    "contrast": ((0.85, 1.15), (0.7, 1.3), (0.5, 1.5)),
    "gains": ((0.93, 1.07), (0.87, 1.15), (0.75, 1.33)),
    "light": ((0.15, 0.15), (0.3, 0.3), (0.5, 0.5)),
    "hole": ((0.25, 0.25), (0.45, 0.45), (0.65, 0.65)),
    "halo": ((0.1, 0.1), (0.25, 0.25), (0.45, 0.45)),
    "spot": ((0.1, 0.1), (0.25, 0.25), (0.45, 0.45)),
    "blur": ((0.75, 0.75), (1.5, 1.5), (3.0, 3.0)),
    "sharpness": ((1.5, 1.5), (2.0, 2.0), (3.0, 3.0)),
    "resolution": ((0.7, 0.7), (0.4, 0.4), (0.25, 0.25)),
    "noise": ((3.0, 3.0), (6.0, 6.0), (12.0, 12.0)),
    "jpeg": ((70, 70), (40, 40), (20, 20)),
    "rotation": (5.0, 15.0, 30.0),
    "shift": (0.02, 0.05, 0.1),
    "zoom": ((0.95, 1.05), (0.9, 1.1), (0.8, 1.25)),
}


def degradations() -> dict[str, Callable[[int], Augmentation]]:
    """Changes of one kind each, by its name: functions of a strength.

    The strengths are 1 (mild), 2 (medium) and 3 (strong). A seed chooses the sign of a change, or
    between two amounts, where there are two, and the places of light and spots; the amount is
    fixed. Nothing else changes: no reflections, and black outside the image. Where
    `Augmentation.cameras` draws from a range, medium is its end.

    ============  ============  ============  ============  =====================================
    kind          mild          medium        strong        unit
    ============  ============  ============  ============  =====================================
    tone          0.8 or 1.25   0.65 or 1.5   0.5 or 2      gamma
    contrast      0.85 or 1.15  0.7 or 1.3    0.5 or 1.5    factor about each channel's mean
    gains         0.93 or 1.07  0.87 or 1.15  0.75 or 1.33  factor, for each channel
    light         0.15          0.3           0.5           share of light, more and less
    hole          0.25          0.45          0.65          share of light that is missing
    halo          0.1           0.25          0.45          share of white
    spot          0.1           0.25          0.45          share of white
    blur          0.75          1.5           3             pixels of a picture of 320
    sharpness     1.5           2             3             1 leaves the picture
    resolution    0.7           0.4           0.25          share of the pixels of a side
    noise         3             6             12            standard deviation, grey levels
    jpeg          70            40            20            quality
    rotation      ±5            ±15           ±30           degrees
    shift         ±0.02         ±0.05         ±0.1          share of the side, on both axes
    zoom          0.95 or 1.05  0.9 or 1.1    0.8 or 1.25   factor
    ============  ============  ============  ============  =====================================

    Returns
    -------
    dict of str to callable
        Each takes a strength, 1, 2 or 3, and returns an `Augmentation`; other strengths raise
        `InvalidParameterError`.

    Examples
    --------
    >>> strongly_blurred = degradations()["blur"](3)
    >>> strongly_blurred.blur
    (3.0, 3.0)
    """
    return {kind: partial(_of_one_kind, kind) for kind in AMOUNTS}


def _of_one_kind(kind: str, strength: int) -> Augmentation:
    if type(strength) is bool or strength not in (1, 2, 3):
        raise invalid("degradations", "strength", "1, 2 or 3", strength)
    still: dict[str, Any] = {"rotation": 0.0, "shift": 0.0, "zoom": (1.0, 1.0)}
    changed = still | {kind: AMOUNTS[kind][strength - 1]}
    return Augmentation(
        **changed,
        zoom_per_axis=False,
        flip_horizontal=False,
        flip_vertical=False,
        fill="black",
        at_ends=True,
    )
