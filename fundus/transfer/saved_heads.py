"""The head of a saved `TransferClassifier`: a Keras network's end, or a scikit-learn estimator."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from fundus.backbones.network import Network
from fundus.heads.base import NeuralHead
from fundus.runtime.tensorflow import require_tensorflow
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.schema import (
    COUNT,
    SPREAD,
    TEXT,
    TRUTH,
    Field,
    check_fields,
    count,
    instance,
    option,
    require,
    wrong,
)
from fundus.saving.trial import check_estimator, takes_rows
from fundus.training.fitted import FittedEstimator
from fundus.training.tail import Tail

_OF_BOTH = {
    "kind": option("estimator", "net"),
    "n_grades": count(2),
    # older bundles have none, and keep their probabilities
    "residual_std": SPREAD.or_none.or_absent,
}
_ESTIMATOR = {**_OF_BOTH, "file": TEXT, "is_regressor": TRUTH}
_NET = {
    **_OF_BOTH,
    "head": instance(dict, "a JSON object"),
    "n_features": COUNT.or_none,
    "history": Field(
        "losses by epoch",
        lambda v: (
            isinstance(v, dict)
            and all(type(k) is str and isinstance(part, list) for k, part in v.items())
            and all(type(x) in (int, float) for part in v.values() for x in part)
        ),
    ),
    "weights": TEXT,
    "dtype_policy": TEXT.or_absent,  # bundles of the first release have none
}


def head_parts(head: Any, encoder: Encoder) -> dict[str, Any]:
    """Return the record of a fitted head, JSON values only, and write its files."""
    if isinstance(head, FittedEstimator):
        return {
            "kind": "estimator",
            "file": encoder.writer.estimator(head.estimator),
            "n_grades": head.n_grades,
            "is_regressor": head.is_regressor,
            "residual_std": head.residual_std,
        }
    # numpy files cannot hold bfloat16; float32 holds all of its numbers
    known = (np.asarray(w) for w in head.weights())
    weights = [w if w.dtype.kind == "f" else w.astype(np.float32) for w in known]
    tail = head.tail
    return {
        "kind": "net",
        "head": encoder.value(tail.head, "head"),
        "n_grades": tail.n_grades,
        "n_features": tail.n_features,
        "history": head.history,
        "residual_std": head.residual_std,
        "weights": encoder.writer.arrays({f"w{k:04d}": w for k, w in enumerate(weights)}),
        "dtype_policy": tail.dtype_policy,
    }


def read_head(record: Any, decoder: Decoder, network: Network | None, model: Any) -> Any:
    """Build the fitted head of a model whose classes and grades were read.

    Parameters
    ----------
    record : dict
        As `head_parts` returns it.
    network : Network or None
        The backbone, for a head whose backbone was trained too.
    model : TransferClassifier

    Raises
    ------
    BundleError
        If the head does not fit the model, or has weights of other shapes or that are not finite.
    """
    record = record if isinstance(record, dict) else {}
    check_fields("head", {"kind": _OF_BOTH["kind"]}, record)
    of_scikit_learn = record["kind"] == "estimator"
    check_fields("head", _ESTIMATOR if of_scikit_learn else _NET, record)
    n_grades, expected = record["n_grades"], f"{len(model.grades_)}, the number of grades"
    require(n_grades == len(model.grades_), model, "n_grades", expected, n_grades)
    if of_scikit_learn:
        _check_freeze(network, model)
        return _estimator_of(record, decoder, model)
    if record["n_features"] is not None:
        _check_freeze(network, model)
    return _net_of(record, decoder, network)


def _check_freeze(network: Network | None, model: Any) -> None:
    """Raise if layers of the backbone are trained, while the head has none of them.

    Where all were frozen by another name, such as 1.0, a fit has written "all".
    """
    if network is not None:
        require(network.freeze == "all", model, "freeze", "that of all layers", network.freeze)


def width_of(head: Any) -> int | None:
    """Return the number of features that a fitted head takes; None where it is not known."""
    if isinstance(head, FittedEstimator):
        width = getattr(head.estimator, "n_features_in_", None)
        return None if width is None else int(width)
    return head.tail.n_features


def _estimator_of(record: dict[str, Any], decoder: Decoder, model: Any) -> FittedEstimator:
    estimator = check_estimator(decoder.reader.estimator(record["file"]))
    require(takes_rows(estimator), model, "head", "an estimator of features", estimator)
    regressor = record["is_regressor"]
    same = regressor == is_regressor(estimator)
    require(same, model, "is_regressor", f"that of {type(estimator).__name__}", regressor)
    if not regressor:
        # a head is trained on positions of the classes
        positions, found = np.sort(model._positions), getattr(estimator, "classes_", np.empty(0))
        same = np.array_equal(found, positions)
        require(same, model, "classes_", f"the labels at {found} of the scale", model.classes_)
    return FittedEstimator(estimator, record["n_grades"], regressor, record.get("residual_std"))


def _net_of(record: dict[str, Any], decoder: Decoder, network: Network | None) -> Any:
    head, width, n_grades = decoder.value(record["head"]), record["n_features"], record["n_grades"]
    if not isinstance(head, NeuralHead):
        raise wrong("head", "head", "a head of a Keras network", head)
    if width is None and network is None:
        raise wrong("head", "n_features", "a number without layers of a backbone", width)
    arrays = decoder.reader.arrays(record["weights"])
    weights = [arrays[name] for name in sorted(arrays)]
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise wrong("head", "weights", "finite numbers", f"{name} of {array.dtype}")
    _check_end(head, weights, width, n_grades)
    require_tensorflow()  # before the module of the training, which imports Keras
    from fundus.training.trainer import check_weights, trained_net

    tail = Tail(
        head,
        n_grades,
        width,
        network if width is None else None,
        record.get("dtype_policy", "float32"),
    )
    net = trained_net(tail, weights, record["history"])
    check_weights(net)
    return dataclasses.replace(net, residual_std=record.get("residual_std"))


def _check_end(
    head: NeuralHead, weights: Sequence[NDArray[Any]], width: int | None, n_grades: int
) -> None:
    """Compare the shapes of a head's weights, where they are known without building it.

    So that no network is built whose sizes only the record gives.
    """
    n_arrays = head._n_weights()
    if n_arrays is None:
        return
    fits = n_arrays <= len(weights) if width is None else n_arrays == len(weights)
    if not fits:
        raise wrong("head", "weights", f"{n_arrays} arrays, as {head!r} has", len(weights))
    end = [array.shape for array in weights[len(weights) - n_arrays :]]
    if width is None:  # after layers of a backbone, of as many channels as the first array says
        width = end[0][0]
    expected = head._weight_shapes(width, n_grades)
    if end != expected:
        raise wrong("head", "weights", f"of the shapes {expected}, as {head!r} has", end)
