"""What the fields of the plugin records may hold."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

from fundus.hookspecs import (
    BackboneSpec,
    HeadSpec,
    LayoutSpec,
    MetricSpec,
    ModelScore,
    ModelSpec,
    PreprocessorSpec,
    ReportSectionSpec,
    WeightsFile,
)
from fundus.reportspecs.records import NEEDS

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


def _is_plain_file_name(value: Any) -> bool:
    # a name that led out of a folder would have other files replaced
    return isinstance(value, str) and re.fullmatch(r"[\w\-][\w.\-]*", value) is not None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"|[0-9a-f]{32}|[0-9a-f]{64}", value) is not None


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"|https?://\S+", value) is not None


def _are_files(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(file, WeightsFile) for file in value)


def _are_endings(value: Any) -> bool:
    return _is_names(value) and all(ending.startswith(".") for ending in value)


def _are_eye_codes(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(type(code) is int for code in value)
        and all(eye in ("left", "right") for eye in value.values())
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and os.path.isabs(value)


def _are_sentences(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_Rule = tuple[Callable[[Any], bool], str]
_NAME_RULE: _Rule = (
    _is_name,
    "lower case, starting with a letter, of letters, digits, '_' and '-' only",
)
_CALLABLE: _Rule = (callable, "callable")
_OPTIONAL: _Rule = (lambda value: value is None or callable(value), "callable or None")
_TEXT: _Rule = (_is_text, "a str that is not empty")
_COLUMN: _Rule = (
    lambda value: value is None or _is_text(value),
    "the name of a column, a str that is not empty, or None",
)

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
        "weights_files": (_are_files, "a tuple of WeightsFile, or ()"),
        "weights_formats": (_are_endings, "a tuple of endings, such as ('.pth',), or ()"),
        "min_image_size": (_is_pixels, "a positive int, in pixels"),
        "citation": (lambda value: isinstance(value, str), "a str"),
    },
    HeadSpec: {
        "name": _NAME_RULE,
        "make": (_makes, "callable, or where it is, as 'package.module:Class'"),
        "description": _TEXT,
    },
    LayoutSpec: {
        "name": _NAME_RULE,
        "description": _TEXT,
        "path": _TEXT,
        "grade": _TEXT,
        "patient": _COLUMN,
        "eye": _COLUMN,
        "eye_codes": (_are_eye_codes, "a dict of int to 'left' or 'right', or None"),
    },
    WeightsFile: {
        "weights": _TEXT,
        "file": (_is_plain_file_name, "the name of a file, of letters, digits, '.', '_' and '-'"),
        "digest": (_is_digest, "32 or 64 hexadecimal digits in lower case, or ''"),
        "url": (_is_address, "an address that starts with https://, or ''"),
        "package": (lambda value: isinstance(value, str), "a str"),
        "n_bytes": (lambda value: value is None or _is_pixels(value), "a positive int or None"),
        "place": _OPTIONAL,
    },
    ModelScore: {
        "score": _TEXT,
        "value": (_is_number, "a finite number"),
        "low": (_is_number, "a finite number"),
        "high": (_is_number, "a finite number"),
        "photographs": _TEXT,
        "chose": _TEXT,
        "source": _TEXT,
    },
    ModelSpec: {
        "name": _NAME_RULE,
        "description": _TEXT,
        "folder": (_is_path, "an absolute path, such as Path(__file__).parent / 'model'"),
        "licence": _TEXT,
        "training_data": _TEXT,
        "intended_use": _TEXT,
        "limits": (_are_sentences, "a tuple of at least one str"),
        "citation": (lambda value: isinstance(value, str), "a str"),
        "scores": (
            lambda value: isinstance(value, tuple) and all(type(x) is ModelScore for x in value),
            "a tuple of ModelScore, or ()",
        ),
        "digest": (
            lambda value: _is_digest(value) and len(value) != 32,
            "64 hexadecimal digits in lower case, or ''",
        ),
    },
    MetricSpec: {
        "name": _NAME_RULE,
        "function": _CALLABLE,
        "description": _TEXT,
        "greater_is_better": (lambda value: isinstance(value, bool), "True or False"),
        "needs": (
            lambda value: isinstance(value, str) and value in NEEDS,
            f"one of {', '.join(map(repr, NEEDS))}",
        ),
    },
    ReportSectionSpec: {
        "name": _NAME_RULE,
        "title": _TEXT,
        "make": _CALLABLE,
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
        "traced": _OPTIONAL,
    },
}


def field_problem(
    spec: BackboneSpec
    | HeadSpec
    | LayoutSpec
    | MetricSpec
    | ModelScore
    | ModelSpec
    | PreprocessorSpec
    | ReportSectionSpec
    | WeightsFile,
) -> str:
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
    if isinstance(spec, LayoutSpec) and spec.eye_codes is not None and spec.eye is None:
        return "'eye' must name the column that 'eye_codes' is of. Got None instead."
    if isinstance(spec, ModelScore) and not spec.low <= spec.value <= spec.high:
        return f"'value' must lie in its interval, {spec.low} to {spec.high}. Got {spec.value!r}."
    if isinstance(spec, ModelSpec):
        problems = ((k, field_problem(score)) for k, score in enumerate(spec.scores))
        return next((f"in 'scores[{k}]', {found}" for k, found in problems if found), "")
    return _files_problem(spec) if isinstance(spec, BackboneSpec) else ""


def _files_problem(spec: BackboneSpec) -> str:
    for number, file in enumerate(spec.weights_files):
        problem = field_problem(file)
        if not problem and file.weights not in spec.pretrained:
            problem = f"'weights' must be one of {spec.pretrained!r}. Got {file.weights!r} instead."
        if problem:
            return f"in 'weights_files[{number}]', {problem}"
    named = [file.weights for file in spec.weights_files]
    twice = next((name for name in named if named.count(name) > 1), None)
    return "" if twice is None else f"'weights_files' has two files of {twice!r}; give one."
