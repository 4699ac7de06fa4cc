"""Checks of ``optimizer=`` and ``callbacks=``, and an optimizer that each fit builds again."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fundus.parameters import Settings, invalid
from fundus.runtime.keras_objects import as_config, built_parts, own_class
from fundus.runtime.keras_settings import imported_keras
from fundus.runtime.tensorflow import require_tensorflow

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Recipe:
    """The configuration of an optimizer, built again for every fit, so that fits share no state.

    Parameters
    ----------
    name : str
        Name of the class.
    config : dict
        Arguments of the class; a learning rate in it is a schedule.
    kind : type, default=None
        The class, where it or a part of it is not from Keras.
    """

    name: str
    config: dict[str, Any] = field(hash=False)
    kind: Any = None

    @property
    def is_own(self) -> bool:
        """Whether the optimizer and its schedule are from Keras."""
        return self.kind is None

    @property
    def has_schedule(self) -> bool:
        """Whether the learning rate is a schedule, which no callback may set."""
        inner = self.config.get("inner_optimizer")  # of a LossScaleOptimizer
        rate = (inner["config"] if inner else self.config).get("learning_rate")
        return rate is not None and not isinstance(rate, (int, float))

    def build(self, rate: Any, *, fused: bool = False) -> keras.optimizers.Optimizer:
        """Build it; `rate` is a number, a schedule, or None where the optimizer has its own.

        With `fused`, Adam is `FusedAdam`, where that supports the configuration.
        """
        given = {} if rate is None else {"learning_rate": rate}
        if self.kind is not None:
            return self.kind.from_config({**self.config, **given})
        kind: Any = own_class(self.name, "optimizers")
        if fused and self.name == "Adam" and not self.config.get("amsgrad"):
            from fundus.training.adam import FusedAdam

            kind = FusedAdam
        return kind(**built_parts(self.config), **given)


#: ``optimizer="adam"``: as in the chapter, with a smaller epsilon than Keras's default.
ADAM = Recipe("Adam", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8})


def read_optimizer(
    settings: Settings, optimizer: Any, rate: Any, *, divisor: float = 1
) -> tuple[Recipe, float | None]:
    """Read ``optimizer=`` and ``learning_rate=``.

    Parameters
    ----------
    settings : Settings
        Named in errors.
    optimizer : str, dict or keras.optimizers.Optimizer
    rate : float or "auto"
        "auto" is the optimizer's rate, else Keras's default.
    divisor : float, default=1
        Of Keras's default.

    Returns
    -------
    recipe : Recipe
    rate : float or None
        ``None`` where the optimizer has a schedule.

    Raises
    ------
    InvalidParameterError
        If there is no such optimizer, it cannot be built, or both parameters give a rate.
    """
    recipe = _recipe(settings, optimizer)
    config = dict(recipe.config)
    own = config.pop("learning_rate", None)
    if own is None and isinstance(optimizer, (str, dict)):
        if rate != "auto":
            return recipe, float(rate)
        default = _default_rate(recipe.name)
        return recipe, default / divisor if default else default
    if rate != "auto":
        expected = f"'auto' where the optimizer has its own rate (optimizer={optimizer!r})"
        raise invalid(settings, "learning_rate", expected, rate)
    if isinstance(own, (int, float)):
        return Recipe(recipe.name, config, recipe.kind), float(own)
    return recipe, None


def _recipe(settings: Settings, optimizer: Any) -> Recipe:
    if isinstance(optimizer, str) and optimizer.lower() == "adam":
        return ADAM  # without importing Keras
    require_tensorflow()
    import keras

    if isinstance(optimizer, keras.optimizers.Optimizer):
        plain = as_config(optimizer)
        if plain is optimizer:
            return _foreign(settings, optimizer)
        return Recipe(plain["class_name"], plain["config"])
    name, config = optimizer, {}
    if isinstance(optimizer, dict) and set(optimizer) <= {"class_name", "config"}:
        name, config = optimizer.get("class_name"), optimizer.get("config", {})
    known = isinstance(name, str) and isinstance(config, dict)
    kind = own_class(name, "optimizers") if known else None
    if kind is None or (isinstance(optimizer, str) and _default_rate(kind.__name__) is None):
        expected = (
            "the name of a Keras optimizer ('adam', 'sgd', …), a Keras optimizer such as "
            "keras.optimizers.SGD(0.01, momentum=0.9), or {'class_name': …, 'config': {…}}"
        )
        raise invalid(settings, "optimizer", expected, optimizer)
    recipe = Recipe(kind.__name__, config)
    try:
        recipe.build(None)
    except (TypeError, ValueError) as error:
        expected = f"a configuration that Keras can build {kind.__name__} from ({error})"
        raise invalid(settings, "optimizer", expected, optimizer) from None
    return recipe


def _own_config(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """What an optimizer was built with; a schedule is the object itself, which holds no state."""
    config = optimizer.get_config()
    if "learning_rate" in config and not isinstance(config["learning_rate"], float):
        # Keras finds no foreign class by its name; the attribute is private to it, as the public
        # one is the rate of the moment (seen in 3.15)
        config["learning_rate"] = vars(optimizer).get("_learning_rate")
    return config


def _foreign(settings: Settings, optimizer: keras.optimizers.Optimizer) -> Recipe:
    """The recipe of an optimizer whose class or schedule is defined by the caller."""
    try:
        recipe = Recipe(type(optimizer).__name__, _own_config(optimizer), type(optimizer))
        recipe.build(None)
    except (TypeError, ValueError, NotImplementedError) as error:
        expected = (
            "an optimizer that its get_config can build again, as each fit starts from a new one "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        )
        raise invalid(settings, "optimizer", expected, optimizer) from None
    return recipe


def portable(optimizer: Any) -> Any:
    """Return ``optimizer=`` as what can be copied and pickled; `unpacked` is the way back."""
    keras = imported_keras()  # without it there is no optimizer
    plain = as_config(optimizer)
    if keras is None or not isinstance(plain, keras.optimizers.Optimizer):
        return plain
    return Recipe(type(plain).__name__, _own_config(plain), type(plain))


def unpacked(optimizer: Any) -> Any:
    """Return ``optimizer=`` as it was before `portable`; an optimizer is a new one."""
    return optimizer.build(None) if isinstance(optimizer, Recipe) else optimizer


def _default_rate(name: str) -> float | None:
    """Keras's default learning rate."""
    if name == ADAM.name:
        return 1e-3
    kind: Any = own_class(name, "optimizers")
    rate = inspect.signature(kind.__init__).parameters.get("learning_rate")
    return None if rate is None else rate.default


def is_callback(value: Any) -> bool:
    """Whether an object is a Keras callback."""
    keras = imported_keras()  # if it is not imported, there is no callback
    return keras is not None and isinstance(value, keras.callbacks.Callback)


def sets_the_rate(callback: Any) -> bool:
    """Whether a callback sets the learning rate; then the default callback is left out."""
    from keras.callbacks import LearningRateScheduler, ReduceLROnPlateau

    return isinstance(callback, (ReduceLROnPlateau, LearningRateScheduler))


def only_sets_the_rate(callback: Any) -> bool:
    """Whether a callback is one of Keras that only sets the learning rate."""
    return sets_the_rate(callback) and type(callback).__module__.split(".")[0] == "keras"
