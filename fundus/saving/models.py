"""Fitted models to plain records and files, and back; see `fundus.saving.bundle`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fundus.exceptions import BundleError
from fundus.grades.labels import to_positions
from fundus.meta.calibration import CumulativeCalibratedClassifierCV
from fundus.meta.conformal import OrdinalConformalClassifier
from fundus.meta.cutpoints import FixedCutpointClassifier, TunedCutpointClassifierCV
from fundus.meta.ensemble import FoldEnsemble
from fundus.meta.second_stage import SecondStageClassifier
from fundus.saving.files import Reader, Writer
from fundus.saving.meta import (
    labels_of,
    labels_record,
    read_calibrated,
    read_conformal,
    write_calibrated,
    write_conformal,
)
from fundus.saving.records import decode, encode, read_classifier, write_classifier
from fundus.saving.splitters import cv_of, cv_record
from fundus.transfer.classifier import TransferClassifier

CutpointClassifier = TunedCutpointClassifierCV | FixedCutpointClassifier


def write_model(model: Any, writer: Writer) -> dict[str, Any]:
    """Turn a fitted model into a record, and write its arrays.

    Parameters
    ----------
    model : estimator
        One of this library's, a search, or one of scikit-learn's.
    writer : Writer

    Returns
    -------
    dict
        JSON values only.
    """
    model = getattr(model, "best_estimator_", model)
    if isinstance(model, FoldEnsemble):
        return _write_ensemble(model, writer)
    if isinstance(model, TransferClassifier):
        return write_classifier(model, writer)
    if isinstance(model, CutpointClassifier):
        return _write_cutpoints(model, writer)
    if isinstance(model, SecondStageClassifier):
        return _write_second_stage(model, writer)
    if isinstance(model, CumulativeCalibratedClassifierCV):
        return write_calibrated(model, writer, write_model)
    if isinstance(model, OrdinalConformalClassifier):
        return write_conformal(model, writer, write_model)
    return {"kind": "scikit-learn", "file": writer.estimator(model)}


def read_model(record: dict[str, Any], reader: Reader) -> Any:
    """Build a fitted model from its record.

    Parameters
    ----------
    record : dict
    reader : Reader

    Returns
    -------
    estimator
    """
    if record["kind"] == "scikit-learn":
        return reader.estimator(record["file"])
    read: dict[str, Callable[[dict[str, Any], Reader], Any]] = {
        "FoldEnsemble": _read_ensemble,
        "TransferClassifier": read_classifier,
        "TunedCutpointClassifierCV": _read_cutpoints,
        "FixedCutpointClassifier": _read_cutpoints,
        "SecondStageClassifier": _read_second_stage,
        "CumulativeCalibratedClassifierCV": partial(read_calibrated, read=read_model),
        "OrdinalConformalClassifier": partial(read_conformal, read=read_model),
    }
    if record["kind"] not in read:
        raise BundleError(f"The bundle holds an unknown kind of model, {record['kind']!r}.")
    return read[record["kind"]](record, reader)


_OOF = ("oof_fold_", "oof_prediction_", "oof_proba_", "oof_severity_")


def _write_ensemble(model: FoldEnsemble, writer: Writer) -> dict[str, Any]:
    if not hasattr(model, "estimators_"):
        raise BundleError("Only a fitted FoldEnsemble can be saved: call fit first.")
    oof = {name: getattr(model, name) for name in _OOF if hasattr(model, name)}
    oof["oof_prediction_"] = to_positions(model.oof_prediction_, model.classes_)
    return {
        "kind": "FoldEnsemble",
        "cv": cv_record(model.cv),
        "random_state": encode(model.random_state, "random_state", writer),
        "voting": model.voting,
        "voting_": model.voting_,
        "classes": labels_record(model.classes_),
        "scale": labels_record(model.grades_),
        "cv_results": {k: np.asarray(v).tolist() for k, v in model.cv_results_.items()},
        "oof": writer.arrays(oof),
        "severity_std": getattr(model, "severity_std_", None),
        "models": [write_model(m, writer) for m in model.estimators_],
    }


def _read_ensemble(record: dict[str, Any], reader: Reader) -> FoldEnsemble:
    models = [read_model(m, reader) for m in record["models"]]
    ensemble = FoldEnsemble(
        clone(models[0]),
        cv=cv_of(record.get("cv"), len(models)),
        voting=record["voting"],
        random_state=record.get("random_state"),
    )
    ensemble.estimators_ = models
    ensemble.voting_ = record["voting_"]
    ensemble.classes_ = labels_of(record["classes"])
    if "scale" in record:  # since it can come with the labels, and not from the models only
        ensemble._scale = labels_of(record["scale"])
    ensemble.cv_results_ = {k: np.array(v) for k, v in record["cv_results"].items()}
    for name, array in reader.arrays(record["oof"]).items():
        setattr(ensemble, name, array)
    if record.get("severity_std") is not None:  # older bundles have none
        ensemble.severity_std_ = record["severity_std"]
    ensemble.oof_prediction_ = ensemble.classes_[ensemble.oof_prediction_]
    if hasattr(models[0], "n_features_in_"):
        ensemble.n_features_in_ = models[0].n_features_in_
    return ensemble


#: Parameters of a run, not of a model; the estimator, which is saved fitted; and the splitter.
_NOT_SAVED = ("estimator", "cv", "n_jobs")


def _check_fitted(model: Any, name: str) -> None:
    if not hasattr(model, name):
        raise BundleError(f"Only a fitted {type(model).__name__} can be saved: call fit first.")


def _write_meta(model: Any, writer: Writer, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Turn a meta-estimator into a record: its parameters, scale, arrays and inner model."""
    params = {k: v for k, v in model.get_params(deep=False).items() if k not in _NOT_SAVED}
    record: dict[str, Any] = {
        "kind": type(model).__name__,
        "params": {name: encode(value, name, writer) for name, value in params.items()},
        "classes": labels_record(model.classes_),
        "scale": labels_record(model.grades_),
        "arrays": writer.arrays(arrays),
        "model": write_model(model.estimator_, writer),
    }
    if "cv" in model.get_params(deep=False):
        record["cv"] = cv_record(model.cv)
    if hasattr(model, "n_features_in_"):
        record["n_features_in"] = int(model.n_features_in_)
    return record


def _read_meta(cls: Any, record: dict[str, Any], reader: Reader) -> Any:
    inner = read_model(record["model"], reader)
    params = {name: decode(value, reader) for name, value in record["params"].items()}
    if record.get("cv") is not None:
        params["cv"] = cv_of(record["cv"], None)
    model = cls(clone(inner), **params)
    model.estimator_ = inner
    model.classes_ = labels_of(record["classes"])
    model.grades_ = labels_of(record["scale"])
    if "n_features_in" in record:
        model.n_features_in_ = record["n_features_in"]
    for name, array in reader.arrays(record["arrays"]).items():
        setattr(model, name, array)
    return model


def _write_cutpoints(model: CutpointClassifier, writer: Writer) -> dict[str, Any]:
    _check_fitted(model, "cutpoints_")
    arrays = {"cutpoints_": model.cutpoints_}
    if isinstance(model, FixedCutpointClassifier):
        return _write_meta(model, writer, arrays)
    arrays["oof_severity_"] = model.oof_severity_
    return {**_write_meta(model, writer, arrays), "best_score": model.best_score_}


def _read_cutpoints(record: dict[str, Any], reader: Reader) -> CutpointClassifier:
    if record["kind"] == "FixedCutpointClassifier":
        return _read_meta(FixedCutpointClassifier, record, reader)
    model = _read_meta(TunedCutpointClassifierCV, record, reader)
    model.best_score_ = record["best_score"]
    return model


def _write_second_stage(model: SecondStageClassifier, writer: Writer) -> dict[str, Any]:
    _check_fitted(model, "final_estimator_")
    return {
        **_write_meta(model, writer, {"oof_severity_": model.oof_severity_}),
        "second_features": model.second_features_,
        "imputer": writer.estimator(model.imputer_),
        "second": write_classifier(model.final_estimator_, writer),
    }


def _read_second_stage(record: dict[str, Any], reader: Reader) -> SecondStageClassifier:
    model = _read_meta(SecondStageClassifier, record, reader)
    model.second_features_ = record["second_features"]
    model.imputer_ = reader.estimator(record["imputer"])
    model.final_estimator_ = read_classifier(record["second"], reader)
    return model
