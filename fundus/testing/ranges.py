"""Checks that a network's input after a photometric step is in the range of its own scale."""

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
    """Check that the input of a network is in the range of its own scale.

    Parameters
    ----------
    scale : str or callable
        The scale that the network's weights were trained with.
    photometric : str or callable
        The step that runs before it.
    what : str
        Start of messages.

    Raises
    ------
    AssertionError
        If a step fails, or a value is out of range. A scale that depends on more than a pixel's
        colour has no fixed range.
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
