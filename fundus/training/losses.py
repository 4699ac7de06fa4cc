"""Checks of ``loss=``: its type, and whether a head can be trained with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.exceptions import InvalidParameterError
from fundus.heads.base import NeuralHead
from fundus.parameters import invalid
from fundus.runtime.keras_objects import as_config, from_config
from fundus.runtime.seeds import seeded
from fundus.runtime.tensorflow import require_tensorflow

if TYPE_CHECKING:
    from fundus.training.settings import TrainingSettings

#: Losses of Keras whose targets are class numbers.
OF_POSITIONS = ("sparsecategoricalcrossentropy", "categoricalgeneralizedcrossentropy")


def is_ours(part: Any) -> bool:
    """Whether a loss, metric or layer is from Keras or this library; a name, or None, counts."""
    if part is None or isinstance(part, (str, dict)):
        return True
    kind = part if hasattr(part, "__qualname__") else type(part)  # a function, or an object's class
    package = str(kind.__module__).split(".")[0]
    return package in ("keras", "fundus") and kind.__qualname__ != "Lambda"


def built_loss(head: NeuralHead, n_grades: int, loss: Any) -> Any:
    """Return the loss of one fit, for ``compile``; None is the head's own."""
    if loss is None:
        return head.loss(n_grades)
    plain = as_config(loss)
    return from_config(plain, "losses") if isinstance(plain, dict) else loss


def check_loss(settings: TrainingSettings, head: NeuralHead, n_grades: int) -> None:
    """Raise unless a head's targets and outputs go into the loss of a training.

    The loss is computed once, for a network of this head on eleven rows of numbers.

    Raises
    ------
    InvalidParameterError
        If Keras knows no such loss, or it cannot be computed.
    """
    loss = settings.loss
    if loss is None:
        return
    require_tensorflow()
    import keras

    try:
        function = keras.losses.get(built_loss(head, n_grades, loss))
    except (TypeError, ValueError):
        function = None
    if function is None or isinstance(loss, type):
        expected = (
            "None, the name of a Keras loss, a keras.losses.Loss, {'class_name': …, 'config': {…}} "
            "or a function of targets and outputs"
        )
        raise invalid(settings, "loss", expected, loss)
    inputs = keras.Input((4,))
    with seeded(0):
        network = keras.Model(inputs, head.build(inputs, n_grades))
    # no usual number of grades divides eleven, so different shapes are not mistaken as equal
    targets = head.encode(np.arange(11) % n_grades, n_grades)
    outputs = network(np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32))
    expected = (
        f"a loss of the targets of the head {head!r}, {targets.dtype} of shape "
        f"(n, {', '.join(map(str, targets.shape[1:]))}), and its outputs, float32 of shape "
        f"(n, {outputs.shape[1]})"
    )
    try:
        if _mixes_shapes(function, targets.shape, tuple(outputs.shape)):
            raise ValueError("targets and outputs are of different shapes")
        value = np.asarray(function(targets, outputs))
    except InvalidParameterError:
        raise
    except Exception as error:  # TensorFlow and the caller's code may raise any error
        why = (str(error).splitlines() or [""])[0]
        raise invalid(settings, "loss", f"{expected} ({why})", loss) from error
    if not np.isfinite(value).all() or not np.issubdtype(value.dtype, np.floating):
        raise invalid(settings, "loss", f"{expected}, that gives finite numbers", loss)


def _mixes_shapes(function: Any, targets: tuple[int, ...], outputs: tuple[int, ...]) -> bool:
    """Whether a loss of Keras would compare targets with outputs that are not theirs."""
    if not is_ours(function):
        return False
    kind = function if hasattr(function, "__name__") else type(function)
    of_positions = kind.__name__.lower().replace("_", "") in OF_POSITIONS
    return (len(targets) == 1 and outputs[1:] != (1,)) != of_positions
