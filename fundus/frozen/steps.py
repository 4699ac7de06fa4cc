"""Looks up the two steps of the parameters: a photometric one, then the network's scale."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from fundus.exceptions import InvalidParameterError, Mention, Message
from fundus.frozen.settings import FrozenSettings
from fundus.hookspecs import BackboneSpec, PreprocessorSpec
from fundus.parameters import invalid
from fundus.plugins.registry import BUILTIN, Entry, get_registry, list_preprocessors
from fundus.preprocessing import functions

#: Meaning of names of photometric steps as scales up to bundle format 1. Models saved then, and
#: backbones that were trained with them, keep them; a new fit cannot use them by name.
FORMER_SCALES = {
    spec.name: spec
    for spec in (
        PreprocessorSpec(
            name="corpus_mean",
            apply=functions.corpus_mean,
            fit=functions.fit_corpus_mean,
            description="Minus the mean colour of the training images: within -255 to 255, RGB.",
        ),
        PreprocessorSpec(
            name="image_mean",
            apply=functions.image_mean,
            description="Minus each image's own mean colour: within -255 to 255, RGB.",
        ),
        PreprocessorSpec(
            name="ben_graham",
            apply=functions.ben_graham,
            description="Local mean colour subtracted, contrast raised fourfold around 128: "
            "0 to 255, RGB (Graham 2015).",
        ),
    )
}


def find_scale(name: str) -> Entry:
    """Look up a scale: uint8 images to a network's float32.

    Raises
    ------
    UnknownNameError
        If no preprocessor has the name.
    InvalidParameterError
        If the preprocessor is a photometric step.
    """
    entry = get_registry().find("preprocessor", name)
    if entry.spec.kind == "scale":
        return entry
    if entry.plugin == BUILTIN and entry.spec.name in FORMER_SCALES:
        return replace(entry, spec=FORMER_SCALES[entry.spec.name])
    about, instead = Mention("normalise", owner=""), Mention("photometric", name)
    text = (
        f"The preprocessor {name!r} is a photometric step (uint8 to uint8), and a network needs a "
        f"scale (uint8 to float32): one of {', '.join(list_preprocessors('scale'))}. Pass it as "
        f"{instead}."
    )
    raise InvalidParameterError(Message(text, about, instead))


def find_photometric(name: str) -> Entry:
    """Look up a photometric step: uint8 images to uint8 images.

    Raises
    ------
    UnknownNameError
        If no preprocessor has the name.
    InvalidParameterError
        If the preprocessor is a scale.
    """
    entry = get_registry().find("preprocessor", name)
    if entry.spec.kind == "photometric":
        return entry
    about, instead = Mention("photometric", owner=""), Mention("normalise", name)
    text = (
        f"The preprocessor {name!r} is a scale (uint8 to float32), not a photometric step (uint8 "
        f"to uint8), which is None or one of {', '.join(list_preprocessors('photometric'))}. The "
        f"network's own scale is applied by itself; another is passed as {instead}."
    )
    raise InvalidParameterError(Message(text, about, instead))


def choose_steps(settings: FrozenSettings, spec: BackboneSpec) -> tuple[Any, Any]:
    """Read ``photometric=`` and ``normalise=``, and check them.

    Returns
    -------
    photometric : str, callable or None
    scale : str or callable

    Raises
    ------
    UnknownNameError
        If no preprocessor has a given name.
    InvalidParameterError
        If a name is of the wrong kind, a parameter is neither a name nor callable, or both
        parameters name a photometric step.

    Warns
    -----
    FutureWarning
        If ``normalise=`` names a photometric step, as before ``photometric=`` existed.
    """
    photometric, scale = settings.photometric, settings.normalise
    if photometric is not None and not isinstance(photometric, str) and not callable(photometric):
        expected = "None, the name of a photometric step or a function from uint8 to uint8"
        raise invalid(settings, "photometric", expected, photometric)
    if not isinstance(scale, str) and not callable(scale):
        expected = "'backbone', the name of a scale or a function from uint8 to float32"
        raise invalid(settings, "normalise", expected, scale)
    if isinstance(scale, str) and scale != "backbone" and _was_photometric(scale):
        if photometric is not None:
            expected = (
                "'backbone' or a scale where 'photometric' is given "
                f"(photometric={photometric!r}), since it is a photometric step too"
            )
            raise invalid(settings, "normalise", expected, scale)
        warnings.warn(
            f"normalise={scale!r} is a photometric step, and from now on the scale that the "
            f"network was trained with follows it. Pass photometric={scale!r}, which means the "
            "same, and leave 'normalise' out: the next minor release refuses this spelling. "
            "Models that are saved already predict as before.",
            FutureWarning,
            stacklevel=3,
        )
        photometric, scale = scale, "backbone"
    if isinstance(photometric, str):
        find_photometric(photometric)
    scale = spec.normalise if isinstance(scale, str) and scale == "backbone" else scale
    if isinstance(scale, str):
        find_scale(scale)
    return photometric, scale


def _was_photometric(name: str) -> bool:
    """Whether ``normalise=`` may have meant this photometric step in an earlier release."""
    entry = get_registry().find("preprocessor", name)
    # records of plugins were scales before there were two kinds
    return entry.spec.kind == "photometric" and (
        entry.plugin != BUILTIN or entry.spec.name in FORMER_SCALES
    )
