"""Records of ready graders, which `fundus.hookspecs` gives to plugins."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelScore:
    """What a ready grader was worth on one set of photographs.

    Parameters
    ----------
    score : str
        Name of the score, such as ``"quadratic weighted kappa"``.
    value : float
        The score.
    low, high : float
        Ends of its 95 % interval.
    photographs : str
        The set: its name, and how many photographs of how many patients.
    chose : str
        What the set had a part in, such as ``"the recipe"``, which makes the score too good;
        ``"nothing"`` where it had none.
    source : str
        The command or the page that gives the score.
    """

    score: str
    value: float
    low: float
    high: float
    photographs: str
    chose: str
    source: str


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A ready grader: a fitted model, saved by `save`, with what its users must know.

    Parameters
    ----------
    name : str
        Name users pass to `fundus.load` and to commands instead of a run; lower case letters,
        digits and underscores.
    description : str
        One line for ``fundus models``.
    folder : path
        The saved model, beside the plugin's module, as ``Path(__file__).parent / "model"``.
    licence : str
        Licence of the model.
    training_data : str
        What it was trained on, with the licence of the photographs.
    intended_use : str
        What it is for.
    limits : tuple of str
        What it is not for, and where it is known to fail; a sentence each.
    citation : str, default=""
        Paper or DOI of the data or the method.
    scores : tuple of ModelScore, default=()
        What it was worth, on named sets.
    digest : str, default=""
        SHA-256 of the folder's ``manifest.json``, which has that of every other file. A folder
        with another manifest is refused.
    """

    name: str
    description: str
    folder: str | os.PathLike[str]
    licence: str
    training_data: str
    intended_use: str
    limits: tuple[str, ...]
    citation: str = ""
    scores: tuple[ModelScore, ...] = ()
    digest: str = ""
