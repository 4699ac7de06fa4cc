"""The stages of `TransferClassifier.fit`: duplicates, inputs, training."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.network import Network
from fundus.data.inputs import Images
from fundus.exceptions import DataError, DataWarning
from fundus.frozen.sources import Source
from fundus.grades.labels import Grades
from fundus.heads.base import NeuralHead
from fundus.training.fitted import FittedHead
from fundus.transfer.residuals import (
    FEWEST_HELD_OUT,
    Rows,
    residual_std,
    std_of_inner_folds,
    units_of,
)
from fundus.transfer.sampling import drawn_rows, drawn_weights, with_their_views
from fundus.transfer.validation_split import inner_split


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


def fit_net(
    owner: Any,
    head: NeuralHead,
    source: Source,
    network: Network | None,
    grades: Grades,
    sample_weight: NDArray[np.float64] | None,
    fit_weight: NDArray[np.float64] | None,
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
    sample_weight : ndarray of float, shape (n_samples,), or None
        The caller's weights.
    fit_weight : ndarray of float, shape (n_samples,), or None
        The same times the class weights.
    groups : ndarray, shape (n_samples,), or None
        Rows of one group stay on one side of the inner split.
    seed : int
    n_views : int
        Augmented rows that follow each image's own.

    Returns
    -------
    FittedHead
    """
    from fundus.runtime.tensorflow import require_tensorflow

    require_tensorflow()  # before the modules of the training, which import Keras
    from fundus.runtime.keras_settings import dtype_policy
    from fundus.training.tail import Tail, Training
    from fundus.training.trainer import TrainedNet, train_net

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
        seed=seed,
        repeatable=owner.random_state is not None,
        callbacks=tuple(owner.callbacks or ()),
        log_dir=owner.log_dir_,
        **{name: getattr(owner, name) for name in same},
    )
    width = None if trains_backbone else source.batch(np.array([0]), None)[0].shape[1]
    body = network if trains_backbone else None
    tail = Tail(head, len(grades.scale), width, body, dtype_policy())
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
    positions = np.repeat(grades.positions, each)

    def train(
        settings: Training, images: NDArray[np.intp], watched: NDArray[np.intp] | None
    ) -> TrainedNet:
        weights = fit_weight
        if owner.sampling is not None:
            images = drawn_rows(owner.sampling, images, grades.positions, seed)
            labels = grades.scale[grades.positions]
            weights = drawn_weights(owner.class_weight, labels, sample_weight, images, grades.scale)
        rows = with_their_views(images, n_views)
        watched = None if watched is None else watched * each
        weights = None if weights is None else np.repeat(weights, each)
        return train_net(tail, settings, source, rows, positions, weights, watched)

    trained = train(training, rows, held_out)
    if not head.is_regressor:
        return trained

    def severity_of(net: FittedHead, images: NDArray[np.intp]) -> NDArray[np.float64]:
        return net.outputs(Rows(source, images * each))

    def severity_without(
        images: NDArray[np.intp], left_out: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        kept = None if groups is None else groups[images]
        part, watched = inner_split(grades.positions[images], kept, owner.validation_fraction, seed)
        # the caller's callbacks and log are for the one network that is kept
        quiet = replace(training, callbacks=(), log_dir=None, verbose=0)
        net = train(quiet, images[part], None if watched is None else images[watched])
        return severity_of(net, left_out)

    units = units_of(groups, source, np.arange(len(grades.positions)) * each)
    unseen = np.array([], dtype=np.intp)
    if held_out is not None:
        unseen = held_out[~np.isin(units[held_out], units[rows])]
    if len(np.unique(units[unseen])) >= FEWEST_HELD_OUT:
        # early stopping watched these, and chose among the epochs by their loss, no more
        part = None if sample_weight is None else sample_weight[unseen]
        std = residual_std(severity_of(trained, unseen), grades.positions[unseen], part)
        if std is not None:
            return replace(trained, residual_std=std)
    std = std_of_inner_folds(severity_without, units, grades.positions, sample_weight, seed)
    return replace(trained, residual_std=std)


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
