"""Calibrated and conformal models to plain records, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from fundus.exceptions import BundleError
from fundus.meta.calibration import CalibrationMap, CumulativeCalibratedClassifierCV
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.meta.conformal_sets import ConformalRule, one_less
from fundus.meta.ensemble import FoldEnsemble
from fundus.meta.voting import Ballot
from fundus.saving.files import Reader, Writer
from fundus.saving.splitters import cv_of, cv_record

Write = Callable[[Any, Writer], dict[str, Any]]
Read = Callable[[dict[str, Any], Reader], Any]


def labels_record(labels: NDArray[Any]) -> dict[str, Any]:
    """Turn labels into JSON values."""
    return {"dtype": labels.dtype.str, "values": labels.tolist()}


def labels_of(record: dict[str, Any]) -> NDArray[Any]:
    """Build labels from their record."""
    return np.array(record["values"], dtype=np.dtype(record["dtype"]))


def write_calibrated(
    model: CumulativeCalibratedClassifierCV, writer: Writer, write: Write
) -> dict[str, Any]:
    """Turn a fitted model into a record.

    Parameters
    ----------
    model : CumulativeCalibratedClassifierCV
    writer : Writer
    write : callable
        Writes the wrapped model.

    Returns
    -------
    dict
        JSON values only.
    """
    if not hasattr(model, "maps_"):
        raise BundleError("Only a fitted model can be saved: call fit first.")
    return {
        "kind": "CumulativeCalibratedClassifierCV",
        "method": model.method,
        "cv": cv_record(model.cv),
        "ballot": _write_ballot(model.ballot_),
        "maps": [vars(rule) for rule in model.maps_],
        "estimator": write(model.estimator_, writer),
    }


def read_calibrated(
    record: dict[str, Any], reader: Reader, read: Read
) -> CumulativeCalibratedClassifierCV:
    """Build a fitted model from its record; see `write_calibrated`."""
    inner = read(record["estimator"], reader)
    model = CumulativeCalibratedClassifierCV(clone(inner), method=record["method"])
    model.cv = cv_of(record.get("cv"), model.cv)
    model.estimator_ = inner
    model.ballot_ = _read_ballot(record["ballot"])
    model.classes_ = model.ballot_.classes
    model.maps_ = [CalibrationMap(**rule) for rule in record["maps"]]
    if hasattr(inner, "n_features_in_"):
        model.n_features_in_ = inner.n_features_in_
    return model


def write_conformal(
    model: OrdinalConformalClassifier, writer: Writer, write: Write
) -> dict[str, Any]:
    """Turn a fitted model into a record; folds given as cv are not kept.

    Parameters
    ----------
    model : OrdinalConformalClassifier
    writer : Writer
    write : callable
        Writes the wrapped model.

    Returns
    -------
    dict
        JSON values only.
    """
    if not hasattr(model, "rule_"):
        raise BundleError("Only a fitted model can be saved: call fit first.")
    scores = {f"s{k:04d}": scores for k, scores in enumerate(model.rule_.scores)}
    return {
        "kind": "OrdinalConformalClassifier",
        "alpha": model.rule_.alpha,
        "prefit": not isinstance(model.ensemble_, FoldEnsemble)
        or len(model.rule_.scores) != len(model.ensemble_.estimators_),
        "ballot": _write_ballot(model.ballot_),
        "scores": writer.arrays(scores),
        "ensemble": write(model.ensemble_, writer),
    }


def read_conformal(
    record: dict[str, Any], reader: Reader, read: Read
) -> OrdinalConformalClassifier:
    """Build a fitted model from its record; see `write_conformal`."""
    inner = read(record["ensemble"], reader)
    scores = reader.arrays(record["scores"])
    rule = ConformalRule(record["alpha"], tuple(scores[name] for name in sorted(scores)))
    return with_rule(inner, _read_ballot(record["ballot"]), rule, prefit=record["prefit"])


def with_rule(
    inner: Any, ballot: Ballot, rule: ConformalRule, *, prefit: bool
) -> OrdinalConformalClassifier:
    """Join a fitted model and the rule it was calibrated to.

    Parameters
    ----------
    inner : FoldEnsemble or classifier
    ballot : Ballot
    rule : ConformalRule
    prefit : bool
        Whether `inner` as a whole was calibrated, or each of its models on its own fold.

    Returns
    -------
    OrdinalConformalClassifier
        Fitted.
    """
    model = OrdinalConformalClassifier(
        FrozenEstimator(inner) if prefit else clone(inner.estimator),
        confidence_level=one_less(rule.alpha),
        cv=None if prefit else len(rule.scores),
    )
    model.ensemble_, model.ballot_, model.classes_ = inner, ballot, ballot.classes
    model.rule_, model.n_calibration_ = rule, rule.n_images
    if hasattr(inner, "n_features_in_"):
        model.n_features_in_ = inner.n_features_in_
    return model


def _write_ballot(ballot: Ballot) -> dict[str, Any]:
    return {
        "classes": labels_record(ballot.classes),
        "scale": labels_record(ballot.scale),
        "voting": ballot.voting,
        "std": ballot.std,
    }


def _read_ballot(record: dict[str, Any]) -> Ballot:
    return Ballot(
        labels_of(record["classes"]),
        labels_of(record["scale"]),
        record["voting"],
        record.get("std"),  # older bundles have none
    )
