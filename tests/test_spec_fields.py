"""Records of plugins: what their files of weights may be."""

from __future__ import annotations

import pytest

from fundus import hookspecs
from fundus.plugins.spec_fields import field_problem

GOOD = {"weights": "imagenet", "file": "net.h5"}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([GOOD], ""),
        ([{**GOOD, "digest": "a" * 64, "url": "https://a.test/net.h5", "n_bytes": 1}], ""),
        (
            [{**GOOD, "file": "../net.h5"}],
            "in 'weights_files[0]', 'file' must be",
        ),
        ([{**GOOD, "file": ".net"}], "'file' must be the name of a file"),
        ([{**GOOD, "digest": "A" * 64}], "'digest' must be 32 or 64 hexadecimal digits"),
        ([{**GOOD, "url": "file:///etc"}], "'url' must be an address that starts with https://"),
        ([{**GOOD, "n_bytes": 0}], "'n_bytes' must be a positive int or None"),
        ([{**GOOD, "weights": "retina"}], "'weights' must be one of ('imagenet',). Got 'retina'"),
        ([GOOD, {**GOOD, "file": "b.h5"}], "'weights_files' has two files of 'imagenet'"),
    ],
)
def test_files_of_weights_that_cannot_be_used_are_told(files, problem):
    spec = hookspecs.BackboneSpec(
        name="x", build=dict, image_size=32, parameters=1, licence="MIT",
        weights_files=tuple(hookspecs.WeightsFile(**file) for file in files),
    )  # fmt: skip
    found = field_problem(spec)
    assert problem in found
    assert bool(found) == bool(problem)


def test_lists_of_files_and_endings_must_be_tuples_of_their_kind():
    given = {"name": "x", "build": dict, "image_size": 32, "parameters": 1, "licence": "MIT"}
    files = hookspecs.BackboneSpec(**given, weights_files=({"file": "net.h5"},))
    assert "'weights_files' must be a tuple of WeightsFile" in field_problem(files)
    for formats in (("pth",), ".pth", [".pth"]):
        spec = hookspecs.BackboneSpec(**given, weights_formats=formats)
        assert "'weights_formats' must be a tuple of endings" in field_problem(spec)
