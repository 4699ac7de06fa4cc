"""A user's Keras model as a backbone: its configuration and weights, unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import InvalidParameterError, Mention, Message
from fundus.parameters import invalid, refused
from fundus.runtime.identity import code_identity
from fundus.runtime.keras_settings import imported_keras

if TYPE_CHECKING:
    import keras

#: Names of a given model's own weights. The estimators' default is one of them, since there are no
#: others.
OWN_WEIGHTS = ("model", "imagenet")

_HOW = "pass backbone=BackboneSpec.from_model({}, normalise=...)"


@dataclass(frozen=True)
class GivenModel:
    """Builds a model again from its configuration and weights; the `build` of a `BackboneSpec`.

    Two of them are equal, and share entries of the store, if `digest` is equal. Nothing in it is
    ever changed, so a copy is the object itself.

    Parameters
    ----------
    digest : str
        SHA-256 of the configuration, the weights and the code of layers that are not Keras's own.
    config : str
        The configuration, as JSON.
    weights : tuple of ndarray
    image_size : int
        Edge of the model's input, in pixels.
    """

    digest: str
    config: str = field(repr=False, compare=False)
    weights: tuple[NDArray[Any], ...] = field(repr=False, compare=False)
    image_size: int = field(compare=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> GivenModel:
        return self

    def code_identity(self) -> str:
        """Return the identity of the object in the keys of the store, instead of its values."""
        return self.digest

    def __call__(self, *, image_size: int, weights: str | None) -> keras.Model:
        """Build the model for an edge of the input; `weights` is None for random ones."""
        import keras

        config = json.loads(self.config)
        _input_config(config)["batch_shape"] = [None, image_size, image_size, 3]
        try:
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            if weights is not None:
                model.set_weights(list(self.weights))
        except (TypeError, ValueError) as error:
            if image_size == self.image_size:
                raise
            reason = str(error).splitlines()[0]
            must = (
                f"must be {self.image_size} or None for the given model, which cannot be "
                f"built for images of {image_size} pixels ({reason})."
            )
            raise refused("", "image_size", must) from None
        model.trainable = True  # 'freeze' decides what is trained
        return model


def take_model(model: Any, image_size: int | None) -> tuple[GivenModel, str, int]:
    """Take a snapshot of a Keras model.

    Parameters
    ----------
    model : keras.Model, or path of a ``.keras`` file
    image_size : int or None
        Needed if the model's input has no fixed size.

    Returns
    -------
    builder : GivenModel
    name : str
        Keras's name of the model.
    n_parameters : int

    Raises
    ------
    InvalidParameterError
        If `model` is not one of these, its input is not one float32 image, it has several outputs,
        it holds code that cannot be kept, or its size is not known.
    """
    from fundus.runtime.tensorflow import require_tensorflow

    require_tensorflow()
    import keras

    if isinstance(model, (str, os.PathLike)):
        model = _read(Path(model))
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        expected = "a functional or a built Sequential keras.Model, or the path of a .keras file"
        raise invalid("BackboneSpec.from_model", "model", expected, model)
    # a Sequential holds its layers in an inner model, and a subclass has its own code around them
    size = _edge(model, image_size)
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    try:
        config = keras.saving.serialize_keras_object(plain)
        _input_config(config)["batch_shape"] = [None, size, size, 3]
        text = json.dumps(config, sort_keys=True)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise _cannot_keep(plain, error) from None
    arrays = tuple(np.array(weight) for weight in plain.get_weights())
    for array in arrays:
        array.flags.writeable = False
    digest = hashlib.sha256(text.encode())
    digest.update("".join(_codes(plain)).encode())
    for array in arrays:
        digest.update(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    builder = GivenModel(digest.hexdigest(), text, arrays, size)
    try:
        builder(image_size=size, weights="model")
    except (TypeError, ValueError) as error:
        raise _cannot_keep(plain, error) from None
    return builder, plain.name, int(plain.count_params())


def given_instead(backbone: Any) -> str | None:
    """Explain how to pass a Keras model, or its file, as ``backbone=``; None for anything else."""
    keras = imported_keras()
    if keras is not None and isinstance(backbone, keras.Model):
        return _HOW.format("model")
    named = isinstance(backbone, (str, os.PathLike))
    if named and os.fspath(backbone).lower().endswith((".keras", ".h5", ".hdf5")):
        return _HOW.format(repr(os.fspath(backbone)))
    return None


def _read(path: Path) -> keras.Model:
    import keras

    which = f"is the file {str(path)!r}, which"
    if path.suffix != ".keras" or not path.is_file():
        must = (
            f"{which} must be a .keras file that exists: save the model with model.save('x.keras')."
        )
        raise refused("BackboneSpec.from_model", "model", must)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types of errors for unreadable files
        must = (
            f"{which} cannot be loaded in safe mode ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}): if you trust its code, load the model yourself and "
            "pass it."
        )
        raise refused("BackboneSpec.from_model", "model", must) from None


def _edge(model: keras.Model, image_size: int | None) -> int:
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]
    shape, dtype = shapes[0]
    if (
        len(shapes) != 1
        or dtype != "float32"
        or len(shape) != 4
        or shape[3] != 3
        or shape[1] != shape[2]
        or len(model.outputs) != 1
    ):
        must = (
            "must have one float32 input of shape (batch, size, size, 3) and one output. "
            f"Got inputs {shapes!r} and {len(model.outputs)} outputs instead."
        )
        raise refused("BackboneSpec.from_model", "model", must)
    size = shape[1] if image_size is None else image_size
    if size is None:
        expected = "an int, in pixels, for a model whose input is of any size"
        raise invalid("BackboneSpec.from_model", "image_size", expected, image_size)
    return int(size)


def _input_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the only input layer of a functional model."""
    layers = config["config"]["layers"]
    return next(la["config"] for la in layers if la["class_name"] == "InputLayer")


def _codes(model: keras.Model) -> list[str]:
    """Identity of the code of every layer that is not from Keras."""
    classes = {
        cls
        for layer in model._flatten_layers()
        for cls in type(layer).__mro__
        if cls.__module__.split(".")[0] not in ("keras", "tensorflow", "builtins")
    }
    named = sorted(classes, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
    return [code_identity(_Code(dict(vars(cls)))) for cls in named]


class _Code:
    """The methods and constants of a class, for `code_identity`."""

    def __init__(self, found: dict[str, Any]) -> None:
        simple = (bool, int, float, str, tuple)
        self.methods = {k: v for k, v in found.items() if callable(v)}
        self.wrapped = {k: v.__func__ for k, v in found.items() if hasattr(v, "__func__")}
        self.constants = {
            k: v for k, v in found.items() if isinstance(v, simple) and not k.startswith("__")
        }

    def __call__(self) -> None:
        """Do nothing: only callables have an identity."""


def _cannot_keep(model: keras.Model, error: Exception) -> InvalidParameterError:
    import keras

    lambdas = [x.name for x in model._flatten_layers() if isinstance(x, keras.layers.Lambda)]
    if lambdas:
        text = (
            f"The model {model.name!r} has the Lambda layer {lambdas[0]!r}, whose code cannot be "
            "kept: write it as a keras.layers.Layer, or give BackboneSpec(build=...) a function "
            "that builds the model."
        )
    else:
        text = (
            f"The model {model.name!r} cannot be built again from its configuration "
            f"({type(error).__name__}: {str(error).splitlines()[0]}): give its own layers a "
            "get_config and @keras.saving.register_keras_serializable(), or give "
            "BackboneSpec(build=...) a function that builds the model."
        )
    return InvalidParameterError(Message(text, Mention("model", owner="BackboneSpec.from_model")))
