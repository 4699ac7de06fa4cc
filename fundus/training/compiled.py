"""One compiled network for all fits of a kind: folds and candidates do not trace it again.

Tracing a small head takes longer than training it. So the first network of a kind is kept, and a
later fit trains that one, with the variables of a network newly built for the fit. A fit's
result is then the same as with a new network, whatever was trained before.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.runtime.identity import code_identity
from fundus.runtime.keras_objects import as_config
from fundus.runtime.keras_settings import graph_settings
from fundus.training.losses import is_ours
from fundus.training.optimizers import ADAM
from fundus.training.tail import Tail, Training, build_tail

if TYPE_CHECKING:
    import keras

#: How many kinds of networks are kept, however large, and how many if they are small together:
#: TensorFlow never frees all of a graph, so a process that goes through its kinds of models over
#: and over would grow with every network that is traced again.
KEPT = 2
KEPT_SMALL = 12
#: Weights of small networks together, in bytes.
SMALL = 64 << 20


@dataclass(frozen=True)
class Kept:
    """A network that was traced, and its optimizer's variables as they were before any step."""

    network: keras.Model
    #: In the order of ``network.optimizer.variables``; one number for those that are constant.
    slots: list[NDArray[Any]]


_kept: OrderedDict[Any, Kept] = OrderedDict()


def fresh_network(tail: Tail, training: Training) -> keras.Model:
    """Return a compiled network as `build_tail` makes it, already traced where possible.

    It is shared: the next fit or prediction of its kind changes its weights. The caller holds
    `fundus.runtime.seeds.one_at_a_time`.
    """
    built = build_tail(tail, training, to_train=True)
    kind = None if foreign_state(built, tail, training) else _kind(tail, training)
    kept = None if kind is None else _kept.get(kind)
    if kept is None or not _alike(kept.network, built):
        if kind is not None:
            _keep(kind, built)
        return built
    _kept.move_to_end(kind)
    network = kept.network
    for variable, value in zip(network.variables, built.variables, strict=True):
        variable.assign(value)
    for variable, slot in zip(network.optimizer.variables, kept.slots, strict=True):
        variable.assign(np.broadcast_to(slot, variable.shape))
    if isinstance(training.rate, float):
        network.optimizer.learning_rate = training.learning_rate
    return network


def lent_network(tail: Tail, training: Training) -> keras.Model:
    """Return a network of a kind with any weights; the caller sets those of a model.

    The caller holds `fundus.runtime.seeds.one_at_a_time`.
    """
    training = replace(training, callbacks=())
    if not training.optimizer.is_own or not is_ours(training.loss):
        # predictions do not depend on the optimizer and the loss
        training = replace(training, learning_rate=1e-3, optimizer=ADAM, loss=None)
    kind = _kind(tail, training)
    if kind in _kept:
        return _kept[kind].network
    built = build_tail(tail, training, to_train=True)
    if kind is not None and not foreign_state(built, tail, training):
        _keep(kind, built)
    return built


def _keep(kind: Any, network: keras.Model) -> None:
    network.optimizer.build(network.trainable_variables)
    values = [np.asarray(variable) for variable in network.optimizer.variables]
    # most are arrays of zeros as large as the weights
    slots = [v.ravel()[:1] if v.size and (v == v.flat[0]).all() else v for v in values]
    _kept[kind] = Kept(network, [s.reshape(()) if s.size == 1 else s for s in slots])
    _kept.move_to_end(kind)
    while len(_kept) > KEPT and (len(_kept) > KEPT_SMALL or _weight() > SMALL):
        _kept.popitem(last=False)


def _weight() -> int:
    """Bytes of the weights and the optimizers' variables of the networks that are kept."""
    networks = [kept.network for kept in _kept.values()]
    variables = [v for n in networks for v in (*n.variables, *n.optimizer.variables)]
    return sum(4 * int(np.prod(variable.shape)) for variable in variables)


def _kind(tail: Tail, training: Training) -> Any:
    """Key that is equal for networks with the same graph; None where that is not known."""
    head, optimizer = tail.head, training.optimizer
    # a rate that is a number is set for each fit; a schedule is in the graph
    trained: tuple[Any, ...] = optimizer.name, optimizer.config, as_config(training.loss)
    if training.gently is not None:
        trained = (*trained, training.learning_rate, training.gently)
    try:
        parts = pickle.dumps(
            (head, tail.n_grades, tail.n_features, tail.network, tail.dtype_policy, trained)
        )
    except (pickle.PicklingError, AttributeError, TypeError):
        return None  # such as a head that holds a lambda
    code = tuple(code_identity(getattr(head, name)) for name in ("build", "loss", "metrics"))
    # Keras compiles with XLA, on a GPU, only where operations need not be deterministic
    return type(head), parts, code, training.repeatable, graph_settings()


def foreign_state(network: keras.Model, tail: Tail, training: Training) -> str:
    """Say which parts of a training may hold state that is not in variables; empty if none.

    The caller's callbacks may change a network in any way. Another package's layer, loss or
    optimizer may keep state of an earlier fit in Python, or draw from a random stream that its
    graph continues. Parts of Keras and of this library do not.
    """
    if not training.only_rates:
        return "the callbacks"
    if not training.optimizer.is_own:
        return f"the optimizer {training.optimizer.name}"
    head, n_grades = tail.head, tail.n_grades
    loss = head.loss(n_grades) if training.loss is None else training.loss
    parts = [loss, *head.metrics(n_grades), *_operations(network)]
    return ", ".join(
        f"{getattr(part, '__name__', type(part).__name__)}" for part in parts if not is_ours(part)
    )


def _operations(network: keras.Model) -> Iterator[Any]:
    for operation in network.operations:
        yield operation
        if hasattr(operation, "operations"):  # a network inside the network
            yield from _operations(operation)


def _alike(a: keras.Model, b: keras.Model) -> bool:
    def shape(network: keras.Model) -> list[Any]:
        layers = [type(layer) for layer in network.layers]
        return [layers, [(tuple(v.shape), v.dtype, v.trainable) for v in network.variables]]

    return shape(a) == shape(b)
