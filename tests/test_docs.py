"""Docstrings are numpydoc and match their signatures; the public names are all there."""

from __future__ import annotations

import inspect

import pytest
from numpydoc.docscrape import FunctionDoc
from numpydoc.validate import validate

import fundus

PUBLIC = [name for name in fundus.__all__ if callable(getattr(fundus, name))]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(fundus, name))]

#: numpydoc's checks that are not asked for, with the reason.
NOT_ASKED = {
    "GL08": "inherited members are documented by scikit-learn",
    "GL01": "the summary starts on the first line",
    "SA01": "See Also only where it helps",
    "SA04": "a name in See Also may speak for itself",
    "ES01": "an extended summary only where there is more to say",
    "PR06": "'int' and 'str' are written as Python does",
    "PR07": "a parameter whose name and type say all needs no sentence",
    "PR08": "descriptions may start with a value",
    "PR09": "descriptions may end with a formula",
    "RT01": "a constructor returns nothing",
    "RT02": "one returned value needs no name",
    "RT03": "a returned value whose type says all needs no sentence",
    "RT04": "descriptions may start with a value",
    "RT05": "descriptions may end with a formula",
    "YD01": "generators say what they yield in their section",
    "EX01": "examples stand in the class, not in every method",
    "GL02": "the closing quotes follow the text of one-line docstrings",
    "SS05": "the imperative is checked by eye",
    "SS06": "a summary may take two lines",
}


def problems(name: str) -> list[str]:
    return [
        f"{name}: {code} {text}" for code, text in validate(name)["errors"] if code not in NOT_ASKED
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstrings_are_numpydoc(name):
    thing = getattr(fundus, name)
    full = f"{thing.__module__}.{thing.__qualname__}" if hasattr(thing, "__qualname__") else None
    if full is None:  # ready-made objects, such as the scorer
        return
    assert problems(full) == []
    doc = inspect.getdoc(thing)
    assert "Examples\n--------" in doc or "Raises\n------" in doc, f"{name} has no example"


METHODS = [
    f"{name}.{method}"
    for name in CLASSES
    for method, value in inspect.getmembers(getattr(fundus, name), inspect.isfunction)
    if value.__module__.startswith("fundus.") and not method.startswith("_")
]


@pytest.mark.parametrize("name", METHODS)
def test_public_methods_document_their_parameters(name):
    cls, method = name.split(".")
    function = getattr(getattr(fundus, cls), method)
    doc = FunctionDoc(function)
    assert any(doc["Summary"]), f"{name} has no docstring"
    if not doc["Parameters"]:  # the base class that asks for the method may document it
        bases = (vars(base).get(method) for base in getattr(fundus, cls).__mro__[1:])
        docs = (FunctionDoc(base) for base in bases if base is not None)
        doc = next((base for base in docs if base["Parameters"]), doc)
    documented = {n.strip().lstrip("*") for p in doc["Parameters"] for n in p.name.split(",")}
    parameters = set(inspect.signature(function).parameters) - {"self"}
    if method in ("set_fit_request", "set_score_request"):  # made by scikit-learn
        return
    assert documented == parameters


@pytest.mark.parametrize("name", CLASSES)
def test_defaults_in_docstrings_are_those_of_the_signature(name):
    """Every parameter is documented, and a stated default is the real one."""
    cls = getattr(fundus, name)
    doc = {n.strip(): p.type for p in FunctionDoc(cls)["Parameters"] for n in p.name.split(",")}
    signature = inspect.signature(cls)
    assert list(doc) == list(signature.parameters)
    for parameter in signature.parameters.values():
        if parameter.default is inspect.Parameter.empty:
            continue
        stated = doc[parameter.name].split("default=")[-1]
        default = repr(parameter.default).replace("'", '"')
        assert "default=" in doc[parameter.name], f"{name}.{parameter.name} states no default"
        values = [value.strip() for value in stated.split(", ")]
        assert default in {stated, *values} or any(
            _same(value, parameter.default) for value in values
        ), f"{name}.{parameter.name}: {stated} is not {default}"


def _same(text: str, value: object) -> bool:
    try:
        return float(text) == value
    except ValueError:
        return False


def test_all_names_load():
    for name in fundus.__all__:
        assert getattr(fundus, name) is not None
    with pytest.raises(AttributeError, match="No fundus attribute TransferClasifier"):
        _ = fundus.TransferClasifier
