"""Converts records of formats 1 and 2 to format 3."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from fundus.saving.codec import SKLEARN
from fundus.saving.files import BundleReader

#: Modules of the classes that these formats give by their names alone.
MODULES = {
    "CumulativeCalibratedClassifierCV": "fundus.meta.calibration",
    "FixedCutpointClassifier": "fundus.meta.cutpoints",
    "FoldEnsemble": "fundus.meta.ensemble",
    "OrdinalConformalClassifier": "fundus.meta.conformal",
    "SecondStageClassifier": "fundus.meta.second_stage",
    "TransferClassifier": "fundus.transfer.classifier",
    "TunedCutpointClassifierCV": "fundus.meta.cutpoints",
}


def in_format_3(bundle: dict[str, Any], reader: BundleReader) -> dict[str, Any]:
    """Turn the model of a bundle of format 1 or 2 into a record of format 3.

    The bundle is the content of its ``model.json``, whose ``"about"`` holds what `fundus train`
    had decided; the reader is that of the same bundle.
    """
    model, about = _model(bundle["model"], reader), bundle["about"]
    if about.get("conformal"):
        model = _with_sets(model, about["conformal"])
    if "fitted" not in model:
        return model
    if about.get("class_names"):
        model["fitted"]["class_names_"] = about["class_names"]
    if about.get("operating_points") is not None:
        model["fitted"]["operating_points_"] = {
            "dict": [
                [name, [_record("metrics.operating_points.OperatingPoint", p) for p in points]]
                for name, points in about["operating_points"].items()
            ]
        }
    if about.get("with_dme") is not None:
        model["fitted"]["referable_with_dme_"] = about["with_dme"]
    return model


def _with_sets(ensemble: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    """Put the classifier that makes sets around an ensemble whose rule was saved separately."""
    own = ensemble["fitted"]
    names = {"classes": "classes_", "scale": "_scale", "voting": "voting_", "std": "severity_std_"}
    scores = [{"dtype": "<f8", "labels": part} for part in rule["scores"]]
    fitted = {name: own[name] for name in ("classes_", "n_features_in_") if name in own}
    return {
        "kind": "fundus.meta.conformal.OrdinalConformalClassifier",
        "params": _conformal_params(rule["alpha"], len(scores)),
        "fitted": {
            **fitted,
            "ensemble_": {"model": ensemble},
            "ballot_": _record("meta.voting.Ballot", {k: own.get(v) for k, v in names.items()}),
            "n_calibration_": sum(map(len, rule["scores"])),
            "rule_": _record(
                "meta.conformal_sets.ConformalRule",
                {"alpha": rule["alpha"], "scores": {"tuple": scores}},
            ),
        },
    }


def _conformal_params(alpha: float, n_folds: int | None) -> dict[str, Any]:
    # in decimals as they are written, so that 0.1 becomes exactly 0.9
    level = {"confidence_level": float(1 - Decimal(repr(alpha)))}
    return level if n_folds is None else {**level, "cv": {"cv": {"folds": n_folds}}}


def _record(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"kind": f"fundus.{kind}", "fields": fields}


def _model(record: dict[str, Any], reader: BundleReader) -> dict[str, Any]:
    kind = record["kind"]
    if kind == SKLEARN:
        return record
    if kind not in MODULES:
        return {"kind": kind, "params": {}, "fitted": {}}  # which raises an error that names it
    params = {name: _value(value) for name, value in record.get("params", {}).items()}
    for name in ("method", "voting", "random_state"):
        if name in record:
            params[name] = record[name]
    if record.get("cv") is not None:
        params["cv"] = {"cv": record["cv"]}
    fitted: dict[str, Any] = {}
    new: dict[str, Any] = {"kind": f"{MODULES[kind]}.{kind}", "params": params, "fitted": fitted}
    if "classes" in record:
        fitted["classes_"] = _labels(record["classes"])
    if "n_features_in" in record:
        fitted["n_features_in_"] = record["n_features_in"]
    if kind == "TransferClassifier":
        fitted["grades_"] = _labels(record["scale"])
        same: dict[str, Any] = {
            k: record[k] for k in ("head", "head_from", "frozen") if k in record
        }
        if "head" in same["head"]:
            same["head"] = {**same["head"], "head": _value(same["head"]["head"])}
        return {**new, **same}
    {
        "FoldEnsemble": _ensemble,
        "CumulativeCalibratedClassifierCV": _calibrated,
        "OrdinalConformalClassifier": _conformal,
    }.get(kind, _around_one_model)(record, reader, params, fitted)
    return new


def _ensemble(record: dict[str, Any], reader: BundleReader, params: Any, fitted: Any) -> None:
    fitted["estimators_"] = [{"model": _model(model, reader)} for model in record["models"]]
    fitted["voting_"] = record["voting_"]
    if "scale" in record:  # since it can come from the labels, not only from the models
        fitted["_scale"] = _labels(record["scale"])
    results = record["cv_results"].items()
    fitted["cv_results_"] = {"dict": [[k, _labels_of(np.array(v))] for k, v in results]}
    arrays = reader.arrays(record["oof"])
    fitted |= {name: {"array": name, "file": record["oof"]} for name in arrays}
    classes = np.array(record["classes"]["values"], dtype=np.dtype(record["classes"]["dtype"]))
    fitted["oof_prediction_"] = _labels_of(classes[arrays["oof_prediction_"]])
    if record.get("severity_std") is not None:
        fitted["severity_std_"] = record["severity_std"]


def _calibrated(record: dict[str, Any], reader: BundleReader, params: Any, fitted: Any) -> None:
    fitted["estimator_"] = {"model": _model(record["estimator"], reader)}
    fitted["ballot_"] = _ballot(record["ballot"])
    fitted["classes_"] = _labels(record["ballot"]["classes"])
    fitted["maps_"] = [_record("meta.calibration.CalibrationMap", one) for one in record["maps"]]


def _conformal(record: dict[str, Any], reader: BundleReader, params: Any, fitted: Any) -> None:
    file = record["scores"]
    scores = [{"array": name, "file": file} for name in sorted(reader.arrays(file))]
    fitted["ensemble_"] = {"model": _model(record["ensemble"], reader)}
    fitted["ballot_"] = _ballot(record["ballot"])
    fitted["classes_"] = _labels(record["ballot"]["classes"])
    fitted["n_calibration_"] = sum(len(part) for part in reader.arrays(file).values())
    params |= _conformal_params(record["alpha"], None if record["prefit"] else len(scores))
    fitted["rule_"] = _record(
        "meta.conformal_sets.ConformalRule", {"alpha": record["alpha"], "scores": {"tuple": scores}}
    )


def _around_one_model(
    record: dict[str, Any], reader: BundleReader, params: Any, fitted: Any
) -> None:
    """Cutpoints and second stages."""
    fitted["estimator_"] = {"model": _model(record["model"], reader)}
    fitted["grades_"] = _labels(record["scale"])
    for name in reader.arrays(record["arrays"]):
        fitted[name] = {"array": name, "file": record["arrays"]}
    if "best_score" in record:
        fitted["best_score_"] = record["best_score"]
    if "second" in record:
        fitted["second_features_"] = record["second_features"]
        fitted["imputer_"] = {"skops": record["imputer"]}
        fitted["final_estimator_"] = {"model": _model(record["second"], reader)}


def _ballot(record: dict[str, Any]) -> dict[str, Any]:
    labels = {"classes": _labels(record["classes"]), "scale": _labels(record["scale"])}
    rest = {"voting": record["voting"], "std": record.get("std")}
    return _record("meta.voting.Ballot", {**labels, **rest})


def _labels(record: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": record["dtype"], "labels": record["values"]}


def _labels_of(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "labels": array.tolist()}


def _value(value: Any) -> Any:
    """A parameter: only augmentations and the parameters of heads had another form."""
    if isinstance(value, list):
        return [_value(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "augmentation" in value:
        fields = {
            name: {"tuple": part} if isinstance(part, list) else part
            for name, part in value["augmentation"].items()
        }
        return _record("images.augment.Augmentation", fields)
    if "dict" in value:
        return {"dict": [[_value(k), _value(v)] for k, v in value["dict"]]}
    if "head" in value:
        params = value["params"].items()
        return {**value, "params": {"dict": [[k, _value(v)] for k, v in params]}}
    return value
