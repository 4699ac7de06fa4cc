"""Tells of a training that ended no better than a constant prediction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import Mention, Message, UnlearnedWarning, warn_caller
from fundus.metrics.kappa import quadratic_weighted_kappa
from fundus.training.fitted import FittedHead
from fundus.training.tail import Training
from fundus.transfer.residuals import Rows
from fundus.transfer.sampling import Samples

#: Fewest training images of which anything is said: of fewer, chance alone may give a kappa of 0.2.
FEWEST = 100

#: Most images that are graded again, drawn at random, so that the check takes no time.
MOST = 256

#: Kappa below which a model that has seen the grades has not learned them, however many they are.
SLIGHT = 0.1


def tell_if_unlearned(
    head: object,
    fitted: FittedHead,
    samples: Samples,
    images: NDArray[np.intp],
    training: Training,
    *,
    trains_backbone: bool,
) -> None:
    """Warn where a network grades images that it was trained on no better than a constant.

    It is better if it is right more often than the most frequent grade, or if its quadratic kappa
    is above 0.1, either by more than twice the standard error that chance gives. Either will do:
    class weights cost accuracy, and grades without an order cost kappa.

    Parameters
    ----------
    head : Head
        Named in the warning.
    fitted : FittedHead
        After the training.
    samples : Samples
    images : ndarray of int, shape (n_train,)
        The images it was trained on; those without weight are left out, and of more than 256 as
        many are drawn, as many of each grade as there are.
    training : Training
        Its settings.
    trains_backbone : bool
        Whether layers of the backbone were trained too.

    Warns
    -----
    UnlearnedWarning
    """
    if samples.fit_weight is not None:
        images = images[samples.fit_weight[images] > 0]
    if len(images) < FEWEST:
        return
    if len(images) > MOST:
        images = _of_each_grade(images, samples)
    n, n_grades = len(images), len(samples.grades.scale)
    true = samples.grades.positions[images]
    outputs = fitted.outputs(Rows(samples.source, samples.own_rows[images]))
    if len(np.unique(true)) < 2 or not np.isfinite(outputs).all():
        return  # nothing to tell apart; or an error that is told elsewhere
    found = _positions(outputs, n_grades)
    right, constant = float(np.mean(found == true)), np.bincount(true).max() / n
    kappa = quadratic_weighted_kappa(true, found, n_grades=n_grades)
    chance = max(SLIGHT, 2 / math.sqrt(n))
    if right > constant + 2 * math.sqrt(constant * (1 - constant) / n) or kappa > chance:
        return
    rate = "" if training.learning_rate is None else f" ({training.learning_rate:g} now)"
    first = Mention("warmup_epochs")
    epochs, faster = Mention("epochs", training.epochs), Mention("learning_rate")
    advice = f"more epochs than {epochs}, or a higher {faster}{rate}"
    if trains_backbone and training.head_first is None:
        advice += f", or let the head learn first ({first})"
    warn_caller(
        Message(
            f"The training of {head!r} ended no better than a constant prediction: of {n} images "
            f"that it was trained on it grades {right:.0%} right, where always the most frequent "
            f"grade is for {constant:.0%}, and its kappa is {kappa:.2f}, where a constant has 0 "
            f"and chance up to {chance:.2f}. Try {advice}.",
            epochs,
            faster,
            first,
        ),
        UnlearnedWarning,
    )


def _of_each_grade(images: NDArray[np.intp], samples: Samples) -> NDArray[np.intp]:
    """Draw images, the same number of each grade, so that rare grades are seen too."""
    rng = np.random.default_rng(samples.seed)
    grades = samples.grades.positions[images]
    present = np.unique(grades)
    each = MOST // len(present)
    drawn = [rng.permutation(images[grades == grade])[:each] for grade in present]
    return np.sort(np.concatenate(drawn))


def _positions(outputs: NDArray[Any], n_grades: int) -> NDArray[np.intp]:
    """Grades that severities are nearest to, or that are most probable, as positions."""
    if outputs.ndim == 2:
        return outputs.argmax(axis=1)
    return np.clip(np.rint(outputs), 0, n_grades - 1).astype(np.intp)
