"""Everything that ships keeps the contract that plugins must keep."""

import inspect
from dataclasses import fields

import pytest
from numpydoc.docscrape import ClassDoc

from fundus.heads.base import NeuralHead
from fundus.hookspecs import BackboneSpec, HeadSpec, PreprocessorSpec
from fundus.plugins import BUILTIN, HOOKS, get_registry
from fundus.plugins.spec_fields import field_problem
from fundus.testing import check_backbone, check_head, check_preprocessor

#: Checked by default, with their weights; all others are for `make zoo`.
LIGHT = {"tiny": ("fixed", None), "efficientnet_lite0": ("imagenet", 32)}


def builtin(kind):
    entries = [e for e in get_registry().entries[kind] if e.plugin == BUILTIN]
    return pytest.mark.parametrize("spec", [e.spec for e in entries], ids=lambda s: s.name)


@builtin("backbone")
def test_records_of_backbones(spec):
    assert field_problem(spec) == ""
    assert spec.min_image_size <= spec.image_size
    if isinstance(spec.normalise, str):
        assert get_registry().find("preprocessor", spec.normalise)
    # what users need to know about weights that somebody else trained
    if "imagenet" in spec.pretrained:
        assert spec.citation.startswith("https://doi.org/")
        assert spec.weights_path is not None


@builtin("head")
def test_heads(spec):
    assert field_problem(spec) == ""
    quick = {"units": 32, "layers": 1} if issubclass(spec.make, NeuralHead) else None
    check_head(spec.name, params=quick)


@builtin("preprocessor")
def test_preprocessors(spec):
    assert field_problem(spec) == ""
    check_preprocessor(spec.name)


@pytest.mark.parametrize("name", LIGHT)
def test_backbones(name):
    weights, size = LIGHT[name]
    check_backbone(name, weights=weights, image_size=size)


@pytest.mark.zoo
@builtin("backbone")
def test_the_whole_zoo(spec):
    if spec.name not in LIGHT:
        check_backbone(spec.name, image_size=spec.min_image_size)


@pytest.mark.parametrize("record", [BackboneSpec, HeadSpec, PreprocessorSpec])
def test_every_field_of_a_record_is_documented(record):
    documented = [
        name
        for parameter in ClassDoc(record)["Parameters"]
        for name in parameter.name.split(", ")
        if parameter.type and any(parameter.desc)
    ]
    assert sorted(documented) == sorted(field.name for field in fields(record))


def test_every_hook_and_the_type_it_returns_are_documented():
    from fundus import hookspecs

    for hook, (kind, record) in HOOKS.items():
        function = getattr(hookspecs, hook)
        assert kind in function.__doc__
        assert record.__name__ in str(inspect.signature(function).return_annotation)
