"""What the fields of the plugin records may hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fundus.hookspecs import BackboneSpec, HeadSpec, PreprocessorSpec

#: What a name looks like.
NAME = re.compile(r"[a-z][a-z0-9_\-]*")
#: What the place of a class looks like.
PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_pixels(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _makes(value: Any) -> bool:
    return callable(value) or (isinstance(value, str) and PLACE.fullmatch(value) is not None)


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and name for name in value)


_Rule = tuple[Callable[[Any], bool], str]
_NAME_RULE: _Rule = (
    _is_name,
    "lower case, starting with a letter, of letters, digits, '_' and '-' only",
)
_CALLABLE: _Rule = (callable, "callable")
_OPTIONAL: _Rule = (lambda value: value is None or callable(value), "callable or None")
_TEXT: _Rule = (_is_text, "a str that is not empty")

_RULES: dict[type, dict[str, _Rule]] = {
    BackboneSpec: {
        "name": _NAME_RULE,
        "build": _CALLABLE,
        "image_size": (_is_pixels, "a positive int, in pixels"),
        "parameters": (_is_pixels, "a positive int"),
        "licence": _TEXT,
        "normalise": (
            lambda value: _is_text(value) or callable(value),
            "the name of a preprocessor or callable",
        ),
        "pretrained": (_is_names, "a tuple of str, such as ('imagenet',), or ()"),
        "weights_path": _OPTIONAL,
        "load_weights": _OPTIONAL,
        "min_image_size": (_is_pixels, "a positive int, in pixels"),
        "citation": (lambda value: isinstance(value, str), "a str"),
    },
    HeadSpec: {
        "name": _NAME_RULE,
        "make": (_makes, "callable, or where it is, as 'package.module:Class'"),
        "description": _TEXT,
    },
    PreprocessorSpec: {
        "name": _NAME_RULE,
        "apply": _CALLABLE,
        "description": _TEXT,
        "fit": _OPTIONAL,
        "kind": (
            lambda value: isinstance(value, str) and value in ("scale", "photometric"),
            "'scale' or 'photometric'",
        ),
    },
}


def field_problem(spec: BackboneSpec | HeadSpec | PreprocessorSpec) -> str:
    """Say in one clause which field of a record first holds what it may not; empty for none.

    Examples
    --------
    >>> field_problem(HeadSpec(name="Forest", make=dict, description="Trees."))
    "'name' must be lower case, ... Got 'Forest' instead."
    """
    for field, (accepts, expected) in _RULES[type(spec)].items():
        value = getattr(spec, field)
        if not accepts(value):
            return f"'{field}' must be {expected}. Got {value!r} instead."
    if isinstance(spec, BackboneSpec) and spec.image_size < spec.min_image_size:
        return (
            f"'image_size' must be at least 'min_image_size', {spec.min_image_size} pixels. "
            f"Got {spec.image_size!r} instead."
        )
    return ""
