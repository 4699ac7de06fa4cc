"""What reaches a network after a photometric step, in the range of the network's own scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fundus.frozen.normaliser import fit_normaliser
from fundus.frozen.ranges import range_problem
from fundus.testing.checks import attempt, expect
from fundus.testing.probes import probe_images


def check_range(
    scale: str | Callable[..., Any], photometric: str | Callable[..., Any], what: str
) -> None:
    """Check that what reaches a network lies in the range of its own scale.

    Parameters
    ----------
    scale : str or callable
        What the network's weights were trained with.
    photometric : str or callable
        What runs before it.
    what : str
        How messages begin.

    Raises
    ------
    AssertionError
        If a step fails, or the range is left. A scale whose values depend on more than a pixel's
        colour has no range to leave.
    """
    images = probe_images(8, 24)
    place = f"{what}: photometric={photometric!r} and then the scale {scale!r}"
    with attempt(place, "The first must return uint8, the second float32."):
        normaliser = fit_normaliser(scale, lambda: iter([images]), photometric=photometric)
        problem = range_problem(normaliser, replace(normaliser, photometric=None), images)
    expect(
        not problem,
        f"{place} give {problem}: each must treat every image by the same rule, and the scale "
        "every pixel.",
    )
