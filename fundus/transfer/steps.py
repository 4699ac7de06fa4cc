"""The stages of `TransferClassifier.fit`: duplicates, frozen work, training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.inputs import Images
from fundus.exceptions import DataError
from fundus.frozen.function import Frozen
from fundus.frozen.prepare import draw_seed, prepare
from fundus.frozen.sources import ArraySource, Source
from fundus.grades.labels import Grades
from fundus.heads.base import EstimatorHead, NeuralHead
from fundus.metrics.kappa import class_sample_weight
from fundus.training.checkpoints import new_log
from fundus.training.fitted import FittedHead
from fundus.training.losses import check_loss
from fundus.transfer.feature_heads import fit_head_on_features
from fundus.transfer.inputs import training_source
from fundus.transfer.neural_heads import fit_net
from fundus.transfer.parameters import Parameters, check_warm_up
from fundus.transfer.plan import Plan
from fundus.transfer.sampling import Samples


def check_duplicates(images: Images, positions: NDArray[np.intp], duplicates: str) -> None:
    """Refuse rows that contain a file twice.

    ``duplicates="allow"`` accepts copies with the same grade, as from an over-sampler.

    Raises
    ------
    DataError
        For the first file that occurs twice; the rest are counted.
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
    raise DataError(f"Rows {a} and {b} are the same file, {images.paths[a]!r}: {advice}.{more}")


def _file_identity(path: str) -> Any:
    """Key that is equal for two names of one file; links are resolved."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # reading it later raises a clear error
        return os.path.normcase(os.path.abspath(path))
    # not every file system has inode numbers
    return (stat.st_dev, stat.st_ino) if stat.st_ino else os.path.normcase(os.path.realpath(path))


@dataclass(frozen=True)
class Fitted:
    """The results of a fit; precomputed features have no frozen part, and no plan."""

    head: FittedHead
    frozen: Frozen | None
    plan: Plan | None
    log_dir: str | None


def fit_parts(
    parameters: Parameters,
    data: Images | NDArray[Any],
    grades: Grades,
    weight: NDArray[np.float64] | None,
    groups: NDArray[Any] | None,
    random_state: Any,
) -> Fitted:
    """Do the frozen work of a fit, and train the head.

    Parameters
    ----------
    data : Images, or ndarray of float, shape (n_samples, n_features)
    weight : ndarray of float, shape (n_samples,), or None
        The caller's weights.
    groups : ndarray, shape (n_samples,), or None
    random_state : int, RandomState or None
    """
    head, samples, training = parameters.head, parameters.samples, parameters.training
    if isinstance(head, NeuralHead):
        check_loss(training, head, len(grades.scale))
    seed = draw_seed(random_state)
    # class weights need labels for a dict, and weights of rows for the counts
    labels = grades.scale[grades.positions]
    fit_weight = class_sample_weight(samples.class_weight, labels, weight, scale=grades.scale)
    source: Source
    frozen = plan = network = log_dir = None
    if isinstance(data, Images):
        frozen = prepare(parameters.frozen, data, seed=seed)
        source, plan = training_source(parameters, data, frozen, seed)
        network = None if frozen.network.freeze == "all" else frozen.network
        if network is None and isinstance(head, NeuralHead):  # a freeze of 1.0 is known only now
            check_warm_up(training, parameters.frozen.freeze)
    else:
        source = ArraySource(data)
    given = Samples(
        source, grades, weight, fit_weight, groups,
        samples.class_weight, samples.sampling, samples.n_views, seed,
    )  # fmt: skip
    fitted: FittedHead
    if isinstance(head, NeuralHead):
        log_dir = new_log_dir(training.log_dir)
        run = training.run(
            seed=seed,
            repeatable=random_state is not None,
            trains_backbone=network is not None,
            log_dir=log_dir,
        )
        fitted = fit_net(head, given, network, run, training.validation_fraction)
    else:
        assert isinstance(head, EstimatorHead)
        fitted = fit_head_on_features(head, given)
    return Fitted(fitted, frozen, plan, log_dir)


def new_log_dir(log_dir: Any) -> str | None:
    """Make a new folder for the log of a fit, if there is to be one."""
    return None if log_dir is None else str(new_log(Path(log_dir)))
