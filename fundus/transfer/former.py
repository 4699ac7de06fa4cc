"""Parameters of earlier releases, translated to present ones; the next minor release drops them.

They are arguments of Keras: of its Adam and its `ReduceLROnPlateau`.
"""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from fundus.exceptions import warn_caller
from fundus.parameters import Settings, check_int, check_real, invalid
from fundus.training.optimizers import ADAM
from fundus.training.settings import listed
from fundus.training.tail import Plateau

T = TypeVar("T")

#: Former names, and the argument of the Keras class that each of them set.
OF_ADAM = ("beta_1", "beta_2", "epsilon")
OF_PLATEAU = {"lr_factor": "factor", "lr_patience": "patience", "min_learning_rate": "min_lr"}
FORMER = (*OF_ADAM, *OF_PLATEAU)


@dataclass(frozen=True, kw_only=True)
class _Former(Settings):
    """The former parameters, with the defaults that they had."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    lr_factor: float = 0.5
    lr_patience: int = 3
    min_learning_rate: float = 1e-6

    def check(self) -> None:
        """Raise for the first invalid one."""
        check_real(self, "beta_1", low=0, high=1, high_open=True)
        check_real(self, "beta_2", low=0, high=1, high_open=True)
        check_real(self, "epsilon", low=0, low_open=True)
        check_real(self, "lr_factor", low=0, high=1, low_open=True, high_open=True)
        check_int(self, "lr_patience", low=1)
        check_real(self, "min_learning_rate", low=0)


def without_former(kind: type[T]) -> type[T]:
    """Leave ``**former`` out of a class's signature, which readers and scikit-learn use."""
    signature = inspect.signature(kind)
    kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    setattr(kind, "__signature__", signature.replace(parameters=kept))  # noqa: B010 - for mypy
    return kind


def only_former(params: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments unknown to the constructor, if all are former parameters.

    Raises
    ------
    TypeError
        For any other argument, as in Python.
    """
    for name in params:
        if name not in FORMER:
            raise TypeError(f"TransferClassifier got an unexpected keyword argument {name!r}")
    return params


def renamed(
    params: dict[str, Any], *, optimizer: Any = "adam", callbacks: Any = None, warn: bool = False
) -> dict[str, Any]:
    """Replace former parameters by the present ones.

    Parameters
    ----------
    params : dict
        By name, with or without former ones.
    optimizer, callbacks : object
        The present values, which may come from former parameters that were set before.
    warn : bool, default=False
        Warn of former parameters and name what to write instead.

    Raises
    ------
    InvalidParameterError
        If a value cannot be used, or both the former and the new parameter are given.

    Warns
    -----
    FutureWarning
        If there are former ones and `warn` is True.

    Examples
    --------
    >>> renamed({"epochs": 3, "lr_patience": 1})
    {'epochs': 3, 'callbacks': [Plateau(factor=0.5, patience=1, min_lr=1e-06)]}
    """
    former = {name: value for name, value in params.items() if name in FORMER}
    if not former:
        return params
    _Former(owner="TransferClassifier", **former).check()
    new = {name: value for name, value in params.items() if name not in FORMER}
    instead = []
    adam = {name: former[name] for name in OF_ADAM if name in former}
    if adam:
        before = _adam_before(optimizer)
        if before is None or "optimizer" in new:
            expected = f"left out where its former parameters are given ({', '.join(adam)})"
            value = new.get("optimizer", optimizer)
            raise invalid("TransferClassifier", "optimizer", expected, value)
        config = before | adam
        is_default = config == ADAM.config
        new["optimizer"] = "adam" if is_default else {"class_name": "Adam", "config": config}
        options = "".join(f", {name}={value!r}" for name, value in config.items())
        instead.append(f"optimizer=keras.optimizers.Adam(learning_rate{options})")
    plateau = {now: former[name] for name, now in OF_PLATEAU.items() if name in former}
    if plateau:
        earlier = [part for part in listed(callbacks) if isinstance(part, Plateau)]
        made = replace(earlier[-1] if earlier else Plateau(), **plateau)
        given = listed(new.get("callbacks", callbacks))
        kept = [part for part in given if not isinstance(part, Plateau)]
        new["callbacks"] = kept + [made] * (made != Plateau()) or None
        options = ", ".join(f"{name}={value!r}" for name, value in asdict(made).items())
        instead.append(f"callbacks=[keras.callbacks.ReduceLROnPlateau({options})]")
    if warn:
        warn_caller(
            f"{', '.join(former)} of TransferClassifier: write {' and '.join(instead)} instead. "
            "The next minor release refuses the former names.",
            FutureWarning,
        )
    return new


def _adam_before(optimizer: Any) -> dict[str, Any] | None:
    """The options of Adam that former parameters change, None for another optimizer."""
    if isinstance(optimizer, str) and optimizer == "adam":
        return ADAM.config
    is_adam = isinstance(optimizer, dict) and optimizer.get("class_name") == "Adam"
    return optimizer["config"] if is_adam else None
