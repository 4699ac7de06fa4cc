"""Functions of all checks: how they fail, and how a record is registered during a check."""

from __future__ import annotations

import itertools
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DivergedError
from fundus.hookspecs import (
    BackboneSpec,
    HeadSpec,
    LayoutSpec,
    MetricSpec,
    ModelSpec,
    PreprocessorSpec,
    ReportSectionSpec,
)
from fundus.plugins.registry import OWN, Entry, Kind, get_registry
from fundus.plugins.spec_fields import field_problem
from fundus.saving import bundle

_numbers = itertools.count(1)


def expect(condition: Any, message: str) -> None:
    """Fail a check unless a condition holds; unlike ``assert``, under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)


def run_checks(case: Any, checks: Mapping[str, Callable[[Any], None]]) -> None:
    """Run the checks of one entry in turn, up to the first that fails."""
    for check in checks.values():
        check(case)


@contextmanager
def attempt(what: str, advice: str) -> Iterator[None]:
    """Turn an error of the code under test into a failed check that says what to change."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(
            f"{what} failed with {type(error).__name__}: {str(error).rstrip('.')}. {advice}"
        ) from error


@contextmanager
def registered(
    kind: Kind,
    record: type,
    spec_or_name: str
    | BackboneSpec
    | HeadSpec
    | LayoutSpec
    | MetricSpec
    | ModelSpec
    | PreprocessorSpec
    | ReportSectionSpec,
) -> Iterator[Entry]:
    """Look up an entry, or register a record during a check; its fields are checked."""
    registry = get_registry()
    if isinstance(spec_or_name, str):
        yield registry.find(kind, spec_or_name)
        return
    expect(
        isinstance(spec_or_name, record),
        f"A {kind} must be a {record.__name__} or a registered name. Got {spec_or_name!r} instead.",
    )
    problem = field_problem(spec_or_name)
    expect(not problem, f"The {record.__name__} {spec_or_name.name!r} cannot be used: {problem}")
    for entry in registry.entries[kind]:
        if entry.spec == spec_or_name:
            yield entry
            return
    # a separate name for every check: networks are kept by name within a process
    entry = Entry(f"check{next(_numbers)}", OWN, spec_or_name)
    registry.entries[kind].append(entry)
    try:
        yield entry
    finally:
        registry.entries[kind].remove(entry)


def check_golden(values: NDArray[Any], golden: ArrayLike, tolerance: float, what: str) -> None:
    """Compare values with recorded ones."""
    expected = np.asarray(golden, dtype=np.float64)
    expect(
        values.shape == expected.shape,
        f"{what}: the golden array must have the shape {values.shape}. Got {expected.shape}.",
    )
    error = np.abs(values - expected)
    allowed = tolerance * max(1.0, float(np.abs(expected).max()))
    worst = np.unravel_index(int(error.argmax()), error.shape)
    expect(
        error.max() <= allowed,
        f"{what} must agree with the golden values to {allowed:.2g}. Got {values[worst]:.6g} "
        f"instead of {expected[worst]:.6g} at {tuple(int(i) for i in worst)}: if the change is "
        "intended, record new golden values and give the entry a new name, since models trained "
        "with the old one no longer fit.",
    )


def check_predictions(model: Any, X: Any, what: str) -> NDArray[np.float64]:
    """Check the predictions of a fitted classifier against each other; return the severities."""
    try:
        prediction, severity = model.predict(X), model.predict_severity(X)
    except DivergedError as error:
        raise AssertionError(
            f"{what}: predict_severity must return a finite number per row, and predict_proba "
            f"probabilities: {error}"
        ) from error
    n = len(prediction)
    expect(
        np.isin(prediction, model.classes_).all(),
        f"{what}: predict must return grades out of {model.classes_.tolist()}. "
        f"Got {np.unique(prediction).tolist()}: check what decode returns.",
    )
    expect(
        severity.shape == (n,) and np.isfinite(severity).all(),
        f"{what}: predict_severity must return a finite number per row. Got shape "
        f"{severity.shape} with {int((~np.isfinite(severity)).sum())} that are not finite.",
    )
    expect(
        hasattr(model, "predict_proba"),
        f"{what}: predict_proba must exist, since ensembles average probabilities; give the "
        "estimator one, by CalibratedClassifierCV for instance.",
    )
    proba = model.predict_proba(X)
    expect(
        proba.shape == (n, len(model.classes_)) and (proba >= 0).all(),
        f"{what}: predict_proba must return a non-negative column per grade, shape "
        f"{(n, len(model.classes_))}. Got shape {proba.shape}, smallest value {proba.min():.3g}.",
    )
    total = proba.sum(axis=1)
    expect(
        np.allclose(total, 1.0, atol=1e-6),
        f"{what}: rows of predict_proba must sum to 1. Got {total.min():.6g} to "
        f"{total.max():.6g}: normalise in decode.",
    )
    return severity


def check_saving(model: Any, X: Any, what: str, trusted: Sequence[str] = ()) -> None:
    """Check that a fitted model predicts the same after `fundus.load` and after pickle."""
    expected = model.predict_severity(X)
    copies: dict[str, Callable[[], NDArray[np.float64]]] = {
        "saving and loading it": lambda: _severity_after_loading(model, X, trusted),
        "pickling it": lambda: pickle.loads(pickle.dumps(model)).predict_severity(X),
    }
    for how, severity in copies.items():
        with attempt(
            f"{what}: {how}",
            "Define functions and classes at the top level of a module (no lambda), and register "
            "the class of a head itself as 'make'.",
        ):
            again = severity()
        expect(
            np.array_equal(again, expected),
            f"{what}: {how} must not change its predictions. They differ by up to "
            f"{np.abs(again - expected).max():.3g}: something they depend on is kept outside "
            "the weights and the constructor's parameters.",
        )


def _severity_after_loading(model: Any, X: Any, trusted: Sequence[str]) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        bundle.save(model, path)
        loaded = bundle.load(path, trusted=trusted)
        loaded.cache = False
        return loaded.predict_severity(X)
