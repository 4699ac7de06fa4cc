"""Copies of a `TransferClassifier`, and new parameters: what Keras objects and old names need."""

from __future__ import annotations

import copy
from typing import Any, Self

from fundus.runtime.keras_objects import as_config
from fundus.training.optimizers import portable, unpacked
from fundus.transfer.former import renamed
from fundus.transfer.parameters import with_head_object

#: Parameters that a pickle from before they existed lacks, with what they were then.
FORMER_PICKLES = {"pool_over": "all", "stages": None, "aperture": None, "warmup_epochs": 0}


class Copied:
    """Setting, cloning and pickling of parameters, some of which Keras cannot copy itself."""

    optimizer: Any
    loss: Any
    callbacks: Any
    head: Any

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``head__…`` sets those of the head; a name of a head becomes an object.

        Parameters
        ----------
        **params : object
            ``head__C=1`` with ``head="logistic"`` makes it ``head=LogisticHead(C=1)``.

        Returns
        -------
        self

        Examples
        --------
        >>> from fundus import TransferClassifier
        >>> TransferClassifier(head="logistic").set_params(head__C=1.0).head
        LogisticHead(C=1.0)
        """
        params = renamed(params, optimizer=self.optimizer, callbacks=self.callbacks, warn=True)
        above: Any = super()
        return above.set_params(**with_head_object(self.head, params))

    def __sklearn_clone__(self) -> Self:
        copied = copy.copy(self)
        optimizer, copied.optimizer = copy.deepcopy(portable(copied.optimizer)), "adam"
        above: Any = super(Copied, copied)
        cloned = above.__sklearn_clone__()
        cloned.optimizer = unpacked(optimizer)
        return cloned

    # Keras's copies of a loss lose some of its options; of a used optimizer, or one of a class that
    # Keras does not know, there are none
    def __getstate__(self) -> dict[str, Any]:
        plain = {"optimizer": portable(self.optimizer), "loss": as_config(self.loss)}
        above: Any = super()
        return {**above.__getstate__(), **plain}

    def __setstate__(self, state: dict[str, Any]) -> None:
        above: Any = super()
        above.__setstate__({**FORMER_PICKLES, **state, "optimizer": unpacked(state["optimizer"])})
