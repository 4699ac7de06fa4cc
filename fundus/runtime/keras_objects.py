"""Optimizers, learning-rate schedules and losses of Keras as dictionaries, and back."""

from __future__ import annotations

import io
from types import FunctionType
from typing import Any

from fundus.runtime.keras_settings import imported_keras


class _InMemory(io.BytesIO):
    """A file that Keras takes for one with weights, by the name that it asks for."""

    def __str__(self) -> str:
        return "memory.weights.h5"


def weights_bytes(model: Any) -> bytes:
    """Return the content of a ``.weights.h5`` file with a model's weights.

    HDF5 must not write to a disk that may be full: it then goes on with objects that it cannot
    close, and may end the process.

    Examples
    --------
    >>> import keras
    >>> weights_bytes(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))[1:4]
    b'HDF'
    """
    file = _InMemory()
    model.save_weights(file)
    return file.getvalue()


def own_class(name: str, *rooms: str) -> type | None:
    """Find a class of Keras by its name, in any case; base classes are not found.

    Parameters
    ----------
    *rooms : {"optimizers", "schedules", "losses"}
        Modules to search.
    """
    import keras

    schedules = keras.optimizers.schedules
    places: dict[str, tuple[Any, type]] = {
        "optimizers": (keras.optimizers, keras.optimizers.Optimizer),
        "schedules": (schedules, schedules.LearningRateSchedule),
        "losses": (keras.losses, keras.losses.Loss),
    }
    for module, base in map(places.__getitem__, rooms):
        for found in vars(module).values():
            below = isinstance(found, type) and issubclass(found, base) and found is not base
            if below and found.__name__.lower() == name.lower():
                return found
    return None


def as_config(value: Any) -> Any:
    """Turn an optimizer, schedule or loss of Keras into a dictionary; return others unchanged.

    Keras copies of a loss lose options that are not in its configuration, such as the ``delta`` of
    ``Huber``; this function keeps them.

    Returns
    -------
    object
        ``{"class_name": …, "config": {…}}``, of JSON values; the name of a loss that is a function;
        or the value itself if it, or a part of it, is not from Keras.
    """
    if isinstance(value, FunctionType):
        keras = imported_keras()  # if it is not imported, there are no functions of it
        own = keras is not None and getattr(keras.losses, value.__name__, None) is value
        return value.__name__ if own else value
    kind = type(value)
    if str(kind.__module__).split(".")[0] != "keras" or not hasattr(value, "get_config"):
        return value
    if own_class(kind.__name__, "optimizers", "schedules", "losses") is not kind:
        return value
    try:
        # adds the options that Loss.get_config leaves out (Keras 3.15: Huber, CosineSimilarity)
        config = {**value.get_config(), **vars(value).get("_fn_kwargs", {})}
    except NotImplementedError:  # a part of it has no configuration
        return value
    config = {k: _plain(part) if isinstance(part, dict) else part for k, part in config.items()}
    if not _is_plain(list(config.values())):
        return value
    return {"class_name": kind.__name__, "config": config}


def _plain(part: dict[str, Any]) -> Any:
    """A part of a configuration without module names, or None if it is not from Keras."""
    own = str(part.get("module", "")).split(".")[0] == "keras" and not part.get("registered_name")
    if not own or own_class(part["class_name"], "schedules", "optimizers") is None:
        return part
    return {"class_name": part["class_name"], "config": part["config"]}


def _is_plain(part: Any) -> bool:
    if isinstance(part, dict):
        return set(part) == {"class_name", "config"} and _is_plain(list(part["config"].values()))
    if isinstance(part, (list, tuple)):
        return all(map(_is_plain, part))
    return part is None or isinstance(part, (bool, int, float, str))


def from_config(config: dict[str, Any], *rooms: str) -> Any:
    """Build an object of Keras, of one of the allowed kinds, from what `as_config` made of it.

    Raises
    ------
    ValueError
        If it names no such class of Keras; no other class is ever built.
    """
    kind = own_class(str(config.get("class_name")), *rooms)
    if kind is None:
        raise ValueError(f"Keras has no {' or '.join(rooms)} named {config.get('class_name')!r}")
    return kind(**built_parts(config.get("config", {})))


def built_parts(config: dict[str, Any]) -> dict[str, Any]:
    """Build an inner dictionary of a configuration: a schedule or an inner optimizer."""
    return {
        name: from_config(part, "schedules", "optimizers") if isinstance(part, dict) else part
        for name, part in config.items()
    }
