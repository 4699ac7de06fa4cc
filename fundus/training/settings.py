"""The parameters of a training as they were given, and the run that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fundus.parameters import Settings, check_int, check_real, invalid
from fundus.training.optimizers import is_callback, read_optimizer, sets_the_rate
from fundus.training.tail import HeadFirst, Plateau, Training


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """Parameters of the training of a neural head; `TransferClassifier` documents them."""

    optimizer: Any
    loss: Any
    learning_rate: Any
    batch_size: int
    epochs: int
    warmup_epochs: int
    validation_fraction: float
    patience: int | None
    callbacks: Any
    log_dir: Any
    verbose: int

    def check(self) -> None:
        """Raise for the first invalid parameter; Keras is not imported."""
        check_int(self, "batch_size", low=1)
        check_int(self, "epochs", low=1)
        check_int(self, "warmup_epochs", low=0)
        if self.warmup_epochs >= self.epochs:
            expected = f"less than epochs={self.epochs}, which counts them too"
            raise invalid(self, "warmup_epochs", expected, self.warmup_epochs)
        check_int(self, "patience", low=1, none=True)
        check_int(self, "verbose", low=0)
        check_real(self, "learning_rate", low=0, low_open=True, also=("auto",))
        check_real(self, "validation_fraction", low=0, high=0.5)

    def run(
        self,
        *,
        seed: int = 0,
        repeatable: bool = True,
        trains_backbone: bool = False,
        log_dir: str | None = None,
    ) -> Training:
        """Return the settings of a training run; `log_dir` is the folder of its own log.

        Raises
        ------
        InvalidParameterError
            If the optimizer or a callback cannot be used.
        """
        head_first = None
        if trains_backbone and self.warmup_epochs:
            _, alone = read_optimizer(self, self.optimizer, "auto")
            head_first = HeadFirst(self.warmup_epochs, alone)
        # layers under a head that knows nothing get gradients that spoil them
        divisor = 1 if not trains_backbone else 100 if head_first is None else 10
        recipe, rate = read_optimizer(self, self.optimizer, self.learning_rate, divisor=divisor)
        plateau, callbacks = self._read_callbacks(scheduled=recipe.has_schedule)
        return Training(
            learning_rate=rate,
            optimizer=recipe,
            loss=self.loss,
            batch_size=self.batch_size,
            epochs=self.epochs,
            patience=self.patience,
            plateau=plateau,
            callbacks=callbacks,
            log_dir=log_dir,
            seed=seed,
            repeatable=repeatable,
            verbose=self.verbose,
            head_first=head_first,
        )

    def _read_callbacks(self, *, scheduled: bool) -> tuple[Plateau | None, tuple[Any, ...]]:
        """The default callback that lowers the learning rate, if used, and the caller's."""
        found = listed(self.callbacks)
        former = [callback for callback in found if isinstance(callback, Plateau)]
        callbacks = tuple(callback for callback in found if not isinstance(callback, Plateau))
        if not all(map(is_callback, callbacks)):
            expected = "None, a Keras callback (keras.callbacks.Callback) or a sequence of them"
            raise invalid(self, "callbacks", expected, self.callbacks)
        setting = any(map(sets_the_rate, callbacks))
        if (scheduled and (setting or former)) or (setting and former):
            expected = "without one that sets the learning rate, as " + (
                "the optimizer has a schedule"
                if scheduled
                else "lr_factor, lr_patience or min_learning_rate do, which are former parameters"
            )
            raise invalid(self, "callbacks", expected, self.callbacks)
        plateau = former[-1] if former else Plateau()
        return None if scheduled or setting else plateau, callbacks


def listed(callbacks: Any) -> list[Any]:
    """Return ``callbacks=`` as a list: one callback, a sequence of them, or None for none."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
