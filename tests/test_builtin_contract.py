"""Everything that ships keeps the contract that plugins must keep."""

import inspect
from dataclasses import fields

import pytest
from numpydoc.docscrape import ClassDoc

from fundus.heads.base import NeuralHead
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
from fundus.plugins import BUILTIN, HOOKS, get_registry
from fundus.plugins.spec_fields import field_problem
from fundus.testing import check_backbone, check_head, check_preprocessor
from fundus.testing.plugin import plan_checks

#: What the contract is checked with, in seconds rather than minutes.
QUICK = {"units": 32, "layers": 1}
LITE = {"weights": "imagenet", "image_size": 32}

#: Checks that wait for `make zoo`. Of a head: other heads train the network, and its own loss and
#: layers are those of its other fits. Of the default backbone: its files, cuts and training are in
#: test_builtin.py, test_backbones.py and test_splitting.py.
LATER = {
    "head:corn": {"trained backbone"},
    "head:coral": {"trained backbone"},
    "head:soft_labels": {"trained backbone"},
    "backbone:efficientnet_lite0": {
        *("initial weights", "weights file", "cuts", "training", "in a classifier"),
    },
}


def check_now(offer, **options):
    """Run the checks of an entry but those that wait."""
    checks = plan_checks("fundus-zoo", only=[offer], options={offer: options})
    names = [check.name for check in checks]
    assert LATER[offer] < set(names)
    for check in checks:
        if check.name not in LATER[offer]:
            check.run()


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


@pytest.mark.slow
@builtin("head")
def test_heads(spec):
    assert field_problem(spec) == ""
    quick = QUICK if issubclass(spec.maker, NeuralHead) else None
    if f"head:{spec.name}" in LATER:
        check_now(f"head:{spec.name}", params=quick)
    else:
        check_head(spec.name, params=quick)


@builtin("preprocessor")
def test_preprocessors(spec):
    assert field_problem(spec) == ""
    check_preprocessor(spec.name)


@pytest.mark.slow
def test_a_backbone_in_full():
    check_backbone("tiny", weights="fixed")


@pytest.mark.slow
def test_the_default_backbone():
    check_now("backbone:efficientnet_lite0", **LITE)


@pytest.mark.zoo
@builtin("backbone")
def test_the_whole_zoo(spec):
    quick = LITE if spec.name == "efficientnet_lite0" else {"image_size": spec.min_image_size}
    check_backbone(spec.name, **quick)


@pytest.mark.zoo
@pytest.mark.parametrize("offer", [offer for offer in LATER if offer.startswith("head:")])
def test_heads_in_full(offer):
    check_head(offer.removeprefix("head:"), params=QUICK)


@pytest.mark.parametrize(
    "record",
    [
        *(BackboneSpec, HeadSpec, LayoutSpec, MetricSpec, ModelScore, ModelSpec),
        *(PreprocessorSpec, ReportSectionSpec, WeightsFile),
    ],
)
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
