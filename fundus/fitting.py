"""The stages of `TransferClassifier.fit`: grades, head, inputs, training."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, has_fit_parameter
from threadpoolctl import threadpool_limits

from fundus.augment import Augmentation
from fundus.exceptions import DataError, InvalidGradeError
from fundus.frozen import features
from fundus.heads.base import EstimatorHead, Head
from fundus.heads.sklearn_heads import EstimatorAsHead
from fundus.inputs import Images
from fundus.metrics import grade_scale, to_positions
from fundus.network import Frozen, all_frozen, cut_size
from fundus.parameters import invalid
from fundus.plugins import get_registry
from fundus.sources import (
    ArraySource,
    LiveSource,
    Source,
    check_all_decode,
    decoded_keys,
    stored_source,
)
from fundus.store import Store


@dataclass(frozen=True)
class Grades:
    """The grades of a training set.

    Parameters
    ----------
    scale : ndarray, shape (n_grades,)
        All labels, lowest first.
    classes : ndarray, shape (n_classes,)
        The labels that occur, in ``np.unique`` order.
    positions : ndarray of int, shape (n_samples,)
        Place of every row on the scale.
    """

    scale: NDArray[Any]
    classes: NDArray[Any]
    positions: NDArray[np.intp]


def read_grades(
    y: ArrayLike, grades: int | Sequence[Hashable] | None, where: Any, n_rows: int
) -> Grades:
    """Check ``y`` and place it on its scale.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
    grades : int, sequence or None
        The scale; ``None`` is the sorted labels of `y`.
    where : callable
        Names a row in a message.
    n_rows : int
        Rows of ``X``.

    Returns
    -------
    Grades

    Raises
    ------
    InvalidGradeError
        If a grade is missing or off the scale, or there is one grade only.
    DataError
        If ``X`` and ``y`` differ in length.
    """
    if y is None:
        raise DataError("TransferClassifier requires y to be passed, but the target y is None.")
    labels = column_or_1d(y, warn=True)
    if len(labels) != n_rows:
        raise DataError(
            "X and y must be of one length: inconsistent numbers of samples. "
            f"Got {n_rows} rows of X and {len(labels)} grades."
        )
    unusable = pd.isna(labels)
    if labels.dtype.kind == "f":
        unusable |= np.isinf(labels)
    missing = np.flatnonzero(unusable)
    if len(missing):
        more = f"; {len(missing) - 1} more rows have none either" if len(missing) > 1 else ""
        raise InvalidGradeError(
            "y must hold a grade in every row. "
            f"Got {labels.tolist()[missing[0]]!r} (Input y contains NaN or infinity) in "
            f"{where(int(missing[0]))}{more}."
        )
    check_classification_targets(labels)
    classes = np.unique(labels)
    scale = classes if grades is None else grade_scale(grades)
    positions = to_positions(labels, scale)
    if len(classes) < 2:
        raise InvalidGradeError(
            "y must hold at least 2 grades (classes) to learn from. "
            f"Got 1 class only: {classes[0]!r} in all {n_rows} rows."
        )
    return Grades(scale, classes, positions)


def make_head(head: Any, owner: object) -> Head:
    """Return a fresh, unfitted head for a ``head=`` parameter.

    Parameters
    ----------
    head : str, Head, classifier or regressor
    owner : object
        The estimator, named in errors.

    Returns
    -------
    Head

    Raises
    ------
    UnknownNameError
        If no head goes by the name.
    InvalidParameterError
        If `head` is none of these.
    """
    if isinstance(head, str):
        made = get_registry().find("head", head).spec.make()
        return made if isinstance(made, Head) else EstimatorAsHead(made)
    if isinstance(head, Head):
        return clone(head)
    if isinstance(head, BaseEstimator) and not isinstance(head, type):
        return EstimatorAsHead(clone(head))
    raise invalid(
        owner,
        "head",
        "a registered name, a head object, or a scikit-learn classifier or regressor",
        head,
    )


def check_duplicates(images: Images, positions: NDArray[np.intp], duplicates: str) -> None:
    """Refuse rows that name one file twice.

    Parameters
    ----------
    images : Images
    positions : ndarray of int
    duplicates : {"error", "allow"}
        ``"allow"`` accepts copies that have one grade, as an over-sampler makes them.

    Raises
    ------
    DataError
        Names the first file that occurs twice, and counts the rest.
    """
    if images.paths is None:
        return
    first: dict[str, int] = {}
    again = []
    for row, path in enumerate(images.paths):
        earlier = first.setdefault(path, row)
        if earlier != row and (
            duplicates == "error" or positions[earlier] != positions[row]
        ):
            again.append((earlier, row))
    if not again:
        return
    a, b = again[0]
    more = f" {len(again) - 1} more rows repeat a file." if len(again) > 1 else ""
    if positions[a] != positions[b]:
        advice = "they have different grades, so one of them is wrong"
    else:
        advice = "remove one, or set duplicates='allow' if an over-sampler made it"
    raise DataError(f"Rows {a} and {b} are one file, {images.paths[a]!r}: {advice}.{more}")


def as_augmentation(augment: Any, owner: object) -> Augmentation | None:
    """Return the augmentation an ``augment=`` parameter means; True is the default one."""
    if augment is None or augment is False:
        return None
    if augment is True:
        return Augmentation()
    if isinstance(augment, Augmentation):
        return augment
    raise invalid(owner, "augment", "an Augmentation, a bool or None", augment)


def training_source(
    images: Images,
    frozen: Frozen,
    *,
    augmentation: Augmentation | None,
    store: Store | None,
    seed: int,
    batch_size: int,
    n_jobs: int | None,
    verbose: int,
) -> Source:
    """Return what a neural head trains on; every image has been read once when it returns.

    Frozen features are held in memory, activations at a cut are streamed from the store, and
    augmented images, or all of them where there is no store, are made at every use.
    """
    if all_frozen(frozen.network) and augmentation is None:
        return ArraySource(features(images, frozen, store, n_jobs=n_jobs, verbose=verbose))
    if augmentation is None and store is not None and cut_size(frozen.network):
        return stored_source(
            images, frozen, store, cut_size(frozen.network), n_jobs=n_jobs, verbose=verbose
        )
    keys = None
    if store is None:
        check_all_decode(images, frozen.recipe, n_jobs=n_jobs)
    else:
        keys = decoded_keys(images, frozen.recipe, store, n_jobs=n_jobs, verbose=verbose)
    return LiveSource(images, frozen, augmentation, seed, store, keys, batch_size)


def fit_estimator(
    head: EstimatorHead,
    X: NDArray[Any],
    positions: NDArray[np.intp],
    sample_weight: NDArray[np.float64] | None,
    fit_weight: NDArray[np.float64] | None,
    seed: int,
) -> Any:
    """Fit a scikit-learn head on features, with one BLAS thread.

    Parameters
    ----------
    head : EstimatorHead
    X : ndarray of float, shape (n_samples, n_features)
    positions : ndarray of int, shape (n_samples,)
    sample_weight : ndarray or None
        The caller's weights; they reach every step that takes weights.
    fit_weight : ndarray or None
        The same times the class weights; they reach the last step.
    seed : int

    Returns
    -------
    estimator

    Raises
    ------
    InvalidParameterError
        If there are weights and the estimator takes none.
    """
    counts = np.bincount(positions)
    estimator = head.make_estimator(grade_counts=counts[counts > 0], random_state=seed)
    weights: dict[str, Any] = {}
    last = estimator
    if isinstance(estimator, Pipeline):
        last = estimator.steps[-1][1]
        weights = {
            f"{name}__sample_weight": sample_weight
            for name, step in estimator.steps[:-1]
            if sample_weight is not None and has_fit_parameter(step, "sample_weight")
        }
    if fit_weight is not None:
        if not has_fit_parameter(last, "sample_weight"):
            raise invalid(
                "TransferClassifier",
                "class_weight",
                f"None, and sample_weight too, for the head {last!r}, which takes no weights",
                "weights",
            )
        prefix = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
        weights[f"{prefix}sample_weight"] = fit_weight
    # many small fits are slower by an order of magnitude when BLAS splits each over threads
    # the weights are addressed by step, whatever the caller's metadata routing
    with threadpool_limits(1), config_context(enable_metadata_routing=False):
        return estimator.fit(X, positions, **weights)


def new_log_dir(log_dir: Any) -> str | None:
    """Make a fresh folder ``fit-001``, ``fit-002``, … so that no fit overwrites another's log."""
    if log_dir is None:
        return None
    parent = Path(log_dir)
    parent.mkdir(parents=True, exist_ok=True)
    k = 1
    while True:
        try:
            folder = parent / f"fit-{k:03d}"
            folder.mkdir()
            return str(folder)
        except FileExistsError:
            k += 1


def without_freeze(frozen: Frozen) -> Frozen:
    """Return the same part with all layers frozen, under the name that says so."""
    return replace(frozen, network=replace(frozen.network, freeze="all"))
