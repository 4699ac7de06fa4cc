"""The check of what a backbone says about its files of pretrained weights."""

from __future__ import annotations

from typing import Any

from fundus.backbones.kept_weights import shared_name
from fundus.backbones.weights_files import place_of
from fundus.testing.checks import attempt, expect


def check_weights_files(case: Any) -> None:
    """Check that each file's place can be asked for, and that its name is its own.

    Parameters
    ----------
    case : BackboneCase

    Raises
    ------
    AssertionError
    """
    for number, record in enumerate(case.spec.weights_files):
        what = f"{case.what}: weights_files[{number}]"
        with attempt(what, "Let place() return a Path or None; never raise."):
            place_of(case.spec, record)
        problem = shared_name(record)
        expect(not problem, f"{what}: {problem}.")
