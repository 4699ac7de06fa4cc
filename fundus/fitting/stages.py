"""The stages of `TransferClassifier.fit`: duplicates, inputs, training."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from fundus.data.inputs import Images
from fundus.exceptions import DataError, DataWarning
from fundus.heads.base import EstimatorHead, NeuralHead
from fundus.heads.fitted import FittedHead
from fundus.labels import Grades
from fundus.networks.network import Network
from fundus.networks.sources import Source
from fundus.parallel import one_blas_thread
from fundus.parameters import invalid
from fundus.splits import inner_split


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
    first: dict[Any, int] = {}
    again = []
    for row, path in enumerate(images.paths):
        earlier = first.setdefault(_file_identity(path), row)
        if earlier != row and (duplicates == "error" or positions[earlier] != positions[row]):
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


def _file_identity(path: str) -> Any:
    """What two names of one file have in common; links are seen through."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # reading it will say what is wrong
        return os.path.normcase(os.path.abspath(path))
    # not every file system numbers its files
    return (stat.st_dev, stat.st_ino) if stat.st_ino else os.path.normcase(os.path.realpath(path))


def fit_estimator(
    head: EstimatorHead,
    X: NDArray[Any],
    positions: NDArray[np.intp],
    sample_weight: NDArray[np.float64] | None,
    fit_weight: NDArray[np.float64] | None,
    seed: int,
    n_views: int,
) -> Any:
    """Fit a scikit-learn head on features, with one BLAS thread.

    Parameters
    ----------
    head : EstimatorHead
    X : ndarray of float, shape (n_samples * (n_views + 1), n_features)
    positions : ndarray of int, shape (n_samples,)
    sample_weight : ndarray or None
        The caller's weights; they reach every step that takes weights.
    fit_weight : ndarray or None
        The same times the class weights; they reach the last step.
    seed : int
    n_views : int
        Augmented rows that follow each image's own.

    Returns
    -------
    estimator

    Raises
    ------
    InvalidParameterError
        If there are weights and the estimator takes none.
    """
    each = n_views + 1
    if n_views:
        positions = np.repeat(positions, each)
        sample_weight = None if sample_weight is None else np.repeat(sample_weight, each)
        fit_weight = None if fit_weight is None else np.repeat(fit_weight, each)
    used = np.ones(len(positions), bool) if sample_weight is None else sample_weight != 0
    if not used.all() and len(np.unique(positions[used])) > 1:
        # what a bootstrap left out: support vectors lose a grade whose rows all weigh nothing
        X, positions = X[used], positions[used]
        sample_weight = None if sample_weight is None else sample_weight[used]
        fit_weight = None if fit_weight is None else fit_weight[used]
    counts = np.bincount(positions) // each
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
    # the weights are addressed by step, whatever the caller's metadata routing
    with one_blas_thread(), config_context(enable_metadata_routing=False):
        return estimator.fit(X, positions, **weights)


def fit_net(
    owner: Any,
    head: NeuralHead,
    source: Source,
    network: Network | None,
    grades: Grades,
    weights: NDArray[np.float64] | None,
    groups: NDArray[Any] | None,
    seed: int,
    n_views: int,
) -> FittedHead:
    """Train a neural head, and the layers after the cut where there are any.

    Parameters
    ----------
    owner : TransferClassifier
        Its parameters are the settings of the training.
    head : NeuralHead
    source : Source
        Inputs of the trained part.
    network : Network or None
        The backbone; ``None`` for precomputed features.
    grades : Grades
    weights : ndarray of float, shape (n_samples,), or None
    groups : ndarray, shape (n_samples,), or None
        Rows of one group stay on one side of the inner split.
    seed : int
    n_views : int
        Augmented rows that follow each image's own.

    Returns
    -------
    FittedHead
    """
    from fundus.heads.tail import Tail, Training
    from fundus.heads.trainer import train_net

    trains_backbone = network is not None and network.freeze != "all"
    rate = owner.learning_rate
    if rate == "auto":
        rate = 1e-5 if trains_backbone else 1e-3
    same = (
        "beta_1", "beta_2", "epsilon", "batch_size", "epochs", "patience",
        "lr_factor", "lr_patience", "min_learning_rate", "verbose",
    )  # fmt: skip
    training = Training(
        learning_rate=float(rate),
        seed=None if owner.random_state is None else seed,
        callbacks=tuple(owner.callbacks or ()),
        log_dir=owner.log_dir_,
        **{name: getattr(owner, name) for name in same},
    )
    width = None if trains_backbone else source.batch(np.array([0]), None)[0].shape[1]
    tail = Tail(head, len(grades.scale), width, network if trains_backbone else None)
    rows, held_out = inner_split(grades.positions, groups, owner.validation_fraction, seed)
    if held_out is None and owner.validation_fraction > 0:
        warnings.warn(
            f"validation_fraction={owner.validation_fraction} of {len(grades.positions)} rows is "
            "nothing that can be held out without losing a grade, so early stopping watches the "
            "training loss.",
            DataWarning,
            stacklevel=3,
        )
    # images are held out, not views; early stopping watches them as they are
    each = n_views + 1
    rows = (rows[:, np.newaxis] * each + np.arange(each)).ravel()
    held_out = None if held_out is None else held_out * each
    positions = np.repeat(grades.positions, each)
    weights = None if weights is None else np.repeat(weights, each)
    return train_net(tail, training, source, rows, positions, weights, held_out)


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
