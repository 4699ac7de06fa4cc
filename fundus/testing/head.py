"""`check_head`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from fundus.exceptions import InvalidParameterError
from fundus.frozen.sources import ArraySource
from fundus.grades.severity import normalised
from fundus.heads.base import Head, NeuralHead
from fundus.hookspecs import HeadSpec
from fundus.plugins.registry import Entry
from fundus.testing.checks import (
    attempt,
    check_predictions,
    check_saving,
    expect,
    registered,
    run_checks,
)
from fundus.testing.probes import probe_features, probe_images
from fundus.tracing.heads import TOLERANCE, says_how, traced_head
from fundus.transfer.classifier import TransferClassifier


def check_head(
    head: str | HeadSpec,
    *,
    params: dict[str, Any] | None = None,
    takes_weights: bool = True,
    trusted: Sequence[str] = (),
    epochs: int = 20,
) -> None:
    """Check that a head follows the contract.

    It must work with `sklearn.base.clone`, learn grades from features whose first column rises
    with them, on scales of two and five grades and with a missing grade, repeat its results for the
    same ``random_state``, take sample weights, and survive saving and pickling. A neural head must
    also train on a backbone whose last layers are not frozen. Where it says how it is expressed by
    operations of Keras, in ``decode_ops`` or for its estimator, that must predict as it does.

    Parameters
    ----------
    head : str or HeadSpec
        A registered name, or a record.
    params : dict, default=None
        Arguments of the record's ``make``, for a faster check.
    takes_weights : bool, default=True
        ``False`` states that the head takes no sample weights, so users must pass
        ``class_weight=None``; say so in its description.
    trusted : sequence of str, default=()
        Types that users must pass to `fundus.load`, for an estimator of a package that skops does
        not know; say so in the description.
    epochs : int, default=20
        Epochs in which a neural head must learn the probe features.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how, and what to change.
    UnknownNameError
        If no head has the name.

    Examples
    --------
    >>> check_head("ridge", params={"alpha": 1.0})
    """
    with registered("head", HeadSpec, head) as entry:
        run_checks(HeadCase(entry, params, takes_weights, trusted, epochs), HEAD_CHECKS)


@dataclass
class HeadCase:
    """A head under test, with the parameters of `check_head`."""

    entry: Entry
    params: dict[str, Any] | None = None
    takes_weights: bool = True
    trusted: Sequence[str] = ()
    epochs: int = 20

    @property
    def what(self) -> str:
        """Start of messages."""
        return f"The head {self.entry.spec.name!r}"

    @cached_property
    def made(self) -> Any:
        """One object that the record's ``make`` returned."""
        params = self.params or {}
        with attempt(f"{self.what}: make(**{params!r})", "Give every parameter a default."):
            return self.entry.spec.maker(**params)

    @property
    def value(self) -> Any:
        """Value of the ``head=`` parameter."""
        return self.entry.qualified_name if self.params is None else self.made

    def classifier(self, epochs: int, *, class_weight: str | None = None, **options: Any) -> Any:
        """Return an unfitted `TransferClassifier` of 2-D features with this head."""
        if isinstance(self.made, NeuralHead):  # others ignore these, with a warning
            options |= {"epochs": epochs, "validation_fraction": 0.0}
        return TransferClassifier(
            "precomputed", self.value, class_weight=class_weight, random_state=0, **options
        )

    @property
    def class_weight(self) -> str | None:
        """The library's default, if the head can take it."""
        return "balanced" if self.takes_weights else None


def _check_make(case: HeadCase) -> None:
    made, what = case.made, case.what
    other = case.entry.spec.maker(**(case.params or {}))
    expect(
        isinstance(made, (Head, BaseEstimator)) and not isinstance(made, type),
        f"{what}: make must return a NeuralHead, an EstimatorHead or a scikit-learn estimator. "
        f"Got {made!r}.",
    )
    expect(made is not other, f"{what}: make must return a new object at every call.")
    advice = "__init__ must store each argument under its own name and do nothing else."
    with attempt(f"{what}: sklearn.base.clone", advice):
        copy = clone(made)
    expect(
        repr(copy.get_params()) == repr(made.get_params()) == repr(other.get_params()),
        f"{what}: a clone must have the parameters of the original. Got {copy.get_params()!r} "
        f"for {made.get_params()!r}: {advice}",
    )


def _fit(case: HeadCase, model: Any, X: Any, y: Any, what: str, **options: Any) -> Any:
    try:
        with attempt(f"{what}: fit", "Fix that error."):
            return clone(model).fit(X, y, **options)
    except AssertionError as error:
        cause = error.__cause__
        if isinstance(cause, InvalidParameterError) and "takes no weights" in str(cause):
            raise AssertionError(
                f"{case.what} takes no sample weights, which the default class_weight='balanced' "
                "needs: give its estimator's fit a 'sample_weight', or state it with "
                "check_head(..., takes_weights=False) and in the description."
            ) from cause
        raise


def _check_learns(case: HeadCase) -> None:
    X, y = probe_features()
    model = case.classifier(case.epochs, class_weight=case.class_weight)
    fitted = _fit(case, model, X, y, case.what)
    what = f"{case.what} with five grades"
    severity = check_predictions(fitted, X, what)
    # the correlation, not the difference, which a strong penalty makes small
    related = np.corrcoef(severity, y)[0, 1] if severity.std() > 0 else 0.0
    expect(
        related > 0.3,
        f"{what} must learn that the severity rises with the grade. Got a correlation of "
        f"{related:.2f} on data where it is easy: check that encode and decode agree on the order "
        "of the grades, or give more epochs.",
    )
    _check_agreement(fitted, X, what)
    check_traced_head(case, fitted, X)
    check_saving(fitted, X, what, case.trusted)


def _check_agreement(fitted: Any, X: Any, what: str) -> None:
    """Compare grade, probabilities and severity with each other for grades 0 to 4."""
    severity, prediction = fitted.predict_severity(X), fitted.predict(X)
    positions = fitted.classes_.astype(float)
    if fitted.head_.is_regressor:
        away = np.abs(severity[:, np.newaxis] - positions)
        expect(
            (np.abs(severity - prediction) <= away.min(axis=1) + 1e-9).all(),
            f"{what} is a regressor, so the prediction must be the grade nearest to the severity; "
            "return the severity, shape (n,), from decode, on the grade axis.",
        )
        return
    expected = fitted.predict_proba(X) @ positions
    expect(
        np.allclose(severity, expected, atol=1e-6),
        f"{what} is a classifier, so its severity must be the expected grade. They differ by up "
        f"to {np.abs(severity - expected).max():.3g}: return probabilities, shape (n, n_grades), "
        "from decode, or set is_regressor = True.",
    )


def _check_missing_grade(case: HeadCase) -> None:
    model = case.classifier(2, grades=5, class_weight=case.class_weight)
    X, y = probe_features()
    X, y = X[y != 2], y[y != 2]
    what = f"{case.what} on a fold without grade 2"
    first, second = _fit(case, model, X, y, what), _fit(case, model, X, y, what)
    expect(
        first.classes_.tolist() == [0, 1, 3, 4],
        f"{what}: classes_ must be [0, 1, 3, 4]. Got {first.classes_.tolist()}.",
    )
    severity = check_predictions(first, X, what)
    again = second.predict_severity(X)
    expect(
        np.array_equal(severity, again),
        f"{what}: two fits with one random_state must give one result. Severities differ by up "
        f"to {np.abs(severity - again).max():.3g}: hand random_state on, and keep no state "
        "between fits.",
    )


def _check_two_grades(case: HeadCase) -> None:
    model = case.classifier(2)
    X, y = probe_features(30, n_grades=2)
    labels = np.array(["healthy", "referable"])[y]
    what = f"{case.what} with two grades"
    plain = check_predictions(_fit(case, model, X, labels, what), X, what)
    if not case.takes_weights:
        return
    weights = np.where(y == 1, 20.0, 0.05)
    fitted = _fit(case, model, X, labels, what, sample_weight=weights)
    weighted = check_predictions(fitted, X, f"{what} and sample_weight")
    expect(
        not np.allclose(plain, weighted, atol=1e-6),
        f"{what}: sample_weight must count, but weights of 20 and 0.05 change nothing: hand it on "
        "to the estimator, or state takes_weights=False.",
    )


def _check_trains_backbone(case: HeadCase) -> None:
    if not isinstance(case.made, NeuralHead):
        return
    images, y = probe_images(9, 32)[3:], np.arange(6) % 3
    model = TransferClassifier(
        "tiny", case.value, weights="fixed", freeze=0.5, epochs=1, validation_fraction=0.0,
        cache=False, random_state=0,
    )  # fmt: skip
    what = f"{case.what} on a backbone with trained layers"
    fitted = _fit(case, model, images, y, what)
    check_predictions(fitted, images, what)
    check_saving(fitted, images, what)


def check_traced_head(case: HeadCase, fitted: Any, X: Any) -> None:
    """Compare a head with what it says of itself as operations of Keras, if it says that."""
    if not says_how(fitted.head_):
        return
    import keras

    what = f"{case.what} as operations of Keras"
    with attempt(what, "Use keras.ops on what decode_ops, or the registered function, gets."):
        given = keras.Input(X.shape[1:])
        outputs = traced_head(fitted.head_, [given], np.arange(5))
        found = np.asarray(keras.Model(given, outputs)(X, training=False), dtype=np.float64)
    expected = fitted.head_.outputs(ArraySource(X))
    if found.ndim == 2:
        found = normalised(found)
    same = found.shape == expected.shape
    away = np.abs(found - expected).max() if same else np.inf
    expect(
        same and away < TOLERANCE,
        f"{what} must give what the head gives, within {TOLERANCE:g}. They differ by {away:.3g}, "
        f"with the shapes {found.shape} and {expected.shape}.",
    )


HEAD_CHECKS: dict[str, Callable[[HeadCase], None]] = {
    "make": _check_make,
    "five grades": _check_learns,
    "missing grade": _check_missing_grade,
    "two grades": _check_two_grades,
    "trained backbone": _check_trains_backbone,
}
