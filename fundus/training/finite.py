"""Raises errors for numbers that are not finite, so that they never become a grade."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import DivergedError, FundusWarning

if TYPE_CHECKING:
    from fundus.heads.base import Head
    from fundus.training.tail import Training


def check_training(
    head: Head,
    training: Training,
    history: dict[str, list[float]],
    weights: Sequence[NDArray[Any]],
) -> None:
    """Raise if a training ended with weights that are not finite.

    Raises
    ------
    DivergedError
        If a weight, or the loss of every epoch, is NaN or infinite.

    Warns
    -----
    FundusWarning
        If the loss of an epoch was not finite, and the weights of an earlier one were kept.
    """
    losses = np.array(history.get("loss", []), dtype=np.float64)
    lost = np.flatnonzero(~np.isfinite(losses))
    broken = sum(not np.isfinite(np.asarray(w, np.float64)).all() for w in weights)
    if not broken and not len(lost):
        return
    when = f"in epoch {lost[0] + 1} of {training.epochs}" if len(lost) else "after the last epoch"
    what = f"the loss was {losses[lost[0]]}" if len(lost) else f"{broken} weights were not finite"
    rate = training.learning_rate
    lower = "an optimizer with a lower" if rate is None else f"a learning_rate below {rate:g}"
    schedule = " learning-rate schedule" if rate is None else ""
    try_this = f"Try {lower}{schedule}, or the dtype policy 'float32' if it was another."
    if broken or len(lost) == len(losses):
        raise DivergedError(
            f"The training of {head!r} diverged: {what} {when}, and grades cannot be predicted by "
            f"such a network. {try_this}"
        )
    warnings.warn(
        f"The training of {head!r} diverged: {what} {when}. The weights of the best earlier epoch "
        f"were kept. {try_this}",
        FundusWarning,
        stacklevel=5,
    )


def check_outputs(
    outputs: NDArray[np.float64], model: object, where: Callable[[int], str] = "row {}".format
) -> NDArray[np.float64]:
    """Return the outputs of a head if all are finite and no row of probabilities is all 0.

    Parameters
    ----------
    outputs : ndarray of float, shape (n_samples,) or (n_samples, n_classes)
        Severities, or probabilities.
    model : object
        Named in the error.
    where : callable
        Names a row in the error.

    Raises
    ------
    DivergedError
        Otherwise; the message names the first row and counts the rest.
    """
    rows = outputs[:, np.newaxis] if outputs.ndim == 1 else outputs
    bad = ~np.isfinite(rows).all(axis=1)
    if outputs.ndim == 2:
        bad |= rows.sum(axis=1) == 0
    found = np.flatnonzero(bad)
    if len(found):
        raise DivergedError(
            f"{model!r} does not give finite numbers for {len(found)} of {len(rows)} images, first "
            f"{outputs[found[0]].tolist()!r} for {where(int(found[0]))}, so they have no grade. "
            "Its training diverged, or its input is far from what it was trained on: train it "
            "again with a smaller learning rate or a stronger penalty, and look at that image."
        )
    return outputs
