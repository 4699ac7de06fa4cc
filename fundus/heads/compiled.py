"""One compiled network for all fits of one kind: folds and candidates do not trace it again.

Tracing a small head takes longer than training it. So the first network of a kind is kept, and a
later fit trains that one, with the variables of a network that was built afresh for it.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from fundus.heads.tail import Tail, Training, build_tail
from fundus.preprocessing.identity import code_identity

if TYPE_CHECKING:
    import keras

#: How many kinds of networks are kept.
KEPT = 2

_kept: OrderedDict[Any, keras.Model] = OrderedDict()


def fresh_network(tail: Tail, training: Training) -> keras.Model:
    """Return a compiled network as `build_tail` makes it, traced already where possible.

    It is lent: the next fit or prediction of its kind changes its weights. The caller holds
    `fundus.networks.backbones.one_at_a_time`.

    Parameters
    ----------
    tail : Tail
    training : Training

    Returns
    -------
    keras.Model
    """
    built = build_tail(tail, training, to_train=True)
    kind = _kind(tail, training)
    kept = None if kind is None else _kept.get(kind)
    if kept is None or not _alike(kept, built):
        _keep(kind, built)
        return built
    _kept.move_to_end(kind)
    for variable, value in zip(kept.variables, built.variables, strict=True):
        variable.assign(value)
    for variable in kept.optimizer.variables:
        variable.assign(variable * 0)
    kept.optimizer.learning_rate = training.learning_rate
    return kept


def lent_network(tail: Tail, training: Training) -> keras.Model:
    """Return a network of a kind with whatever weights it has, to be given those of a model.

    The caller holds `fundus.networks.backbones.one_at_a_time`.

    Parameters
    ----------
    tail : Tail
    training : Training

    Returns
    -------
    keras.Model
    """
    kind = _kind(tail, training)
    kept = None if kind is None else _kept.get(kind)
    if kept is None:
        kept = build_tail(tail, training, to_train=True)
        _keep(kind, kept)
    return kept


def _keep(kind: Any, network: keras.Model) -> None:
    if kind is None:
        return
    _kept[kind] = network
    _kept.move_to_end(kind)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)


def _kind(tail: Tail, training: Training) -> Any:
    """What two networks with one graph have in common; None where that cannot be told."""
    head = tail.head
    try:
        parts = pickle.dumps((head, tail.n_grades, tail.n_features, tail.network))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None  # such as a head that holds a lambda
    code = tuple(code_identity(getattr(head, name)) for name in ("build", "loss", "metrics"))
    adam = training.beta_1, training.beta_2, training.epsilon
    return type(head), parts, code, adam, bool(training.callbacks)


def _alike(a: keras.Model, b: keras.Model) -> bool:
    def shape(network: keras.Model) -> list[Any]:
        layers = [type(layer) for layer in network.layers]
        return [layers, [(tuple(v.shape), v.dtype, v.trainable) for v in network.variables]]

    return shape(a) == shape(b)
