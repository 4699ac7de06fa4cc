"""The Keras callback that writes a training's checkpoint after every epoch, and its way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras.callbacks import Callback, CSVLogger, EarlyStopping, History, ReduceLROnPlateau
from numpy.typing import NDArray

from fundus.training.callbacks import AveragedWeights, BestWeights, EpochBar
from fundus.training.checkpoints import Checkpoint, State, refuse_orphans

#: What callbacks hold between epochs; `ARRAYS` come with them.
STATE = (
    (EarlyStopping, ("wait", "best", "best_epoch", "stopped_epoch")),
    (ReduceLROnPlateau, ("wait", "best", "cooldown_counter")),
    (BestWeights, ("best",)),
    (AveragedWeights, ("seen",)),
)

#: Lists of arrays that callbacks hold, and their names in a checkpoint.
ARRAYS = ((EarlyStopping, "best_weights", "best"), (AveragedWeights, "mean", "mean"))


class EpochKeeper(Callback):
    """Writes a checkpoint after every epoch; the last of the callbacks, so it sees their state.

    Parameters
    ----------
    network : keras.Model
        Compiled, and built by its inputs.
    callbacks : sequence of Callback
        The others. This one begins after them, when Keras has reset their state.
    """

    def __init__(
        self, checkpoint: Checkpoint, network: keras.Model, callbacks: Sequence[Callback]
    ) -> None:
        super().__init__()
        if not network.optimizer.built:  # a second time would add variables to some
            network.optimizer.build(network.trainable_variables)
        self.checkpoint, self.others = checkpoint, list(callbacks)
        self.log = next(callback for callback in callbacks if isinstance(callback, History))
        self._variables = {"weights": network.variables, "optimizer": network.optimizer.variables}
        found = checkpoint.found
        self.earlier = found if found is not None and self._fits(found) else None

    def _fits(self, found: State) -> bool:
        return all(
            [tuple(v.shape) for v in variables] == [v.shape for v in found.arrays.get(name, [])]
            for name, variables in self._variables.items()
        )

    def epochs(self, most: int) -> dict[str, int]:
        """Arguments of ``fit``: the first epoch that is not done, and where to stop."""
        if self.earlier is None:
            return {"epochs": most}
        done = self.earlier.about["done"]
        return {"initial_epoch": done, "epochs": done if self.earlier.about["stopped"] else most}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Set everything to what it was after the last epoch."""
        if self.earlier is None:
            return
        about, arrays = self.earlier.about, self.earlier.arrays
        for name, variables in self._variables.items():
            for variable, value in zip(variables, arrays[name], strict=True):
                variable.assign(value)
        for callback, state in zip(self._with_state(), about["callbacks"], strict=True):
            for name, value in state.items():
                setattr(callback, name, value)
            for kind, name, kept in ARRAYS:
                if isinstance(callback, kind) and arrays[kept]:
                    setattr(callback, name, arrays[kept])
        self.log.history = {name: list(values) for name, values in about["history"].items()}
        self.log.epoch = list(range(about["done"]))
        self._restore_files(arrays["best"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write everything."""
        held = {
            kept: [
                np.asarray(array)
                for callback in self.others
                if isinstance(callback, kind)
                for array in getattr(callback, name) or []
            ]
            for kind, name, kept in ARRAYS
        }
        about = {
            "done": epoch + 1,
            "stopped": bool(self.model.stop_training),
            "finished": False,
            "history": {k: [float(v) for v in values] for k, values in self.log.history.items()},
            "callbacks": [_state_of(callback) for callback in self._with_state()],
        }
        arrays = {k: [np.asarray(v) for v in these] for k, these in self._variables.items()}
        self.checkpoint.write(State(about, arrays | held))
        refuse_orphans()

    def _with_state(self) -> list[Callback]:
        kinds = tuple(kind for kind, _ in STATE)
        return [callback for callback in self.others if isinstance(callback, kinds)]

    def _restore_files(self, best: list[NDArray[Any]]) -> None:
        """Write the lines of earlier epochs again, and the best weights if their file is gone."""
        done, history = len(self.log.epoch), self.log.history
        for callback in self.others:
            if isinstance(callback, EpochBar):
                callback.bar.advance(done)
            if isinstance(callback, CSVLogger):
                for epoch in range(done):
                    callback.on_epoch_end(epoch, {k: v[epoch] for k, v in history.items()})
            if isinstance(callback, BestWeights) and best and not callback.path.exists():
                present = self.model.get_weights()
                self.model.set_weights(best)
                callback.write()
                self.model.set_weights(present)


def _state_of(callback: Callback) -> dict[str, Any]:
    names = next(names for kind, names in STATE if isinstance(callback, kind))
    values = {name: getattr(callback, name) for name in names}
    return {k: v if v is None or isinstance(v, int) else float(v) for k, v in values.items()}
