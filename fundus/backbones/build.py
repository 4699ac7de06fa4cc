"""Build a backbone from its record, check that it keeps the contract, and pool its output."""

from __future__ import annotations

import hashlib
import io
import math
import numbers
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.backbones.hdf5 import check_hdf5, weights_in_keras
from fundus.backbones.weights_files import (
    check_format,
    file_of,
    held_file,
    named_file,
    refuse_if_out_of_reach,
    where_from,
)
from fundus.exceptions import BundleError, FundusError, PluginError, WeightsNotAvailableError
from fundus.hookspecs import BackboneSpec
from fundus.parameters import invalid
from fundus.runtime.seeds import seeded
from fundus.runtime.tensorflow import require_tensorflow

if TYPE_CHECKING:
    import keras


def build_backbone(
    spec: BackboneSpec,
    *,
    image_size: int | None = None,
    weights: str | os.PathLike[str] | None = "imagenet",
    seed: int | None = None,
    sha256: str | None = None,
) -> keras.Model:
    """Build a backbone and check that it keeps the contract of `BackboneSpec`.

    Parameters
    ----------
    spec : BackboneSpec
        What to build.
    image_size : int, default=None
        Edge of the square input, in pixels; ``None`` means the backbone's own.
    weights : str, Path or None, default="imagenet"
        One of ``spec.pretrained``, a weights file, or ``None`` for random weights. A name takes
        precedence over a file of that name; its file is looked for in the folder of weights
        (`fundus.backbones.weights_files`) before the backbone's own code is asked for it.
    seed : int, default=None
        Makes the random weights repeatable. No global seed is left changed.
    sha256 : str, default=None
        Digest of the weights file, as 64 hexadecimal digits; another file is refused.

    Returns
    -------
    keras.Model
        Input float32 ``(batch, image_size, image_size, 3)``; output
        ``(batch, height, width, channels)``, ``(batch, tokens, channels)`` or
        ``(batch, channels)``.

    Raises
    ------
    InvalidParameterError
        If the size is too small or `weights` is neither a known name nor a file.
    WeightsNotAvailableError
        If the pretrained weights are neither here nor to be had.
    BundleError
        If the weights file does not fit the network.
    PluginError
        If the built network breaks the contract.
    BackendError
        If Keras does not run on TensorFlow.
    """
    size = _checked_size(spec, image_size)
    name, path = _checked_weights(spec, weights)
    if name is not None:
        path = held_file(spec, name)
        if path is None:
            refuse_if_out_of_reach(spec, name)
        else:
            name = None
    require_tensorflow()
    with seeded(seed), _told_where_from(spec, name):
        model = spec.build(image_size=size, weights=name)
    _check_model(spec, model, size)
    if path is not None:
        with _read_once(path, model, sha256) as copy:
            _load_file(spec, model, copy, path)
    return model


def _checked_size(spec: BackboneSpec, image_size: Any) -> int:
    if image_size is None:
        return spec.image_size
    whole = isinstance(image_size, numbers.Integral) and not isinstance(image_size, bool)
    if not whole or image_size < spec.min_image_size:
        expected = f"None or an int of at least {spec.min_image_size} pixels"
        raise invalid(f"the backbone {spec.name!r}", "image_size", expected, image_size)
    return int(image_size)


def _checked_weights(spec: BackboneSpec, weights: Any) -> tuple[str | None, Path | None]:
    if weights is None:
        return None, None
    if isinstance(weights, str) and weights in spec.pretrained:
        return weights, None
    path = named_file(weights)
    if path is not None:
        check_format(spec, path)
        return None, path
    names = "".join(f"{name!r}, " for name in spec.pretrained)
    expected = f"{names}None or the path of a weights file that exists"
    raise invalid(f"the backbone {spec.name!r}", "weights", expected, weights)


@contextmanager
def _told_where_from(spec: BackboneSpec, name: str | None) -> Iterator[None]:
    """Add to an error about missing weights how their file is put in place by hand."""
    try:
        yield
    except WeightsNotAvailableError as error:
        record = None if name is None else file_of(spec, name)
        if record is None or "fundus weights add" in str(error):
            raise
        raise WeightsNotAvailableError(
            f"{error} Or get {record.file!r}{where_from(record)} on a machine that has a network, "
            f"and run 'fundus weights add {record.file}' here."
        ) from None


def _check_model(spec: BackboneSpec, model: Any, size: int) -> None:
    """Raise `PluginError` where the network is not what `BackboneSpec.build` promises."""
    import keras

    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise PluginError(
            f"The backbone {spec.name!r} must build a functional keras.Model, but built a "
            f"{type(model).__name__}; return keras.Model(inputs, outputs)."
        )
    wanted = (None, size, size, 3)
    inputs = [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]
    if inputs != [(wanted, "float32")]:
        raise PluginError(
            f"The backbone {spec.name!r} must have one float32 input of shape {wanted}, but has "
            f"{inputs!r}."
        )
    outputs = [tuple(tensor.shape) for tensor in model.outputs]
    whole = len(outputs) == 1 and outputs[0][0] is None and None not in outputs[0][1:]
    if not whole or len(outputs[0]) not in (2, 3, 4):
        raise PluginError(
            f"The backbone {spec.name!r} must have one output of shape (batch, height, width, "
            f"channels), (batch, tokens, channels) or (batch, channels), but has {outputs!r}."
        )


@contextmanager
def _read_once(path: Path, model: keras.Model, sha256: str | None) -> Iterator[Path]:
    """Check a weights file, and give the loader a file with the bytes that were checked.

    That is a copy where the file must have a digest, as it may be replaced in between.
    """
    is_hdf5, is_keras = path.name.endswith((".h5", ".hdf5")), path.suffix == ".keras"
    if sha256 is None and not is_hdf5 and not is_keras:
        yield path
        return
    data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError(
            f"The weights file {str(path)!r} is not the one that the model was loaded with: load "
            "the model again."
        )
    if is_hdf5 or is_keras:
        sizes = [math.prod(weight.shape) for weight in model.weights]
        most, room = max([*sizes, _SMALL]), _EXPANSION * max(sum(sizes), _SMALL)
        inside = data if is_hdf5 else weights_in_keras(data, str(path), most=room)
        check_hdf5(inside, str(path), own=sha256 is not None, most=most)
    if sha256 is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fundus-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(data)
        yield copy


#: Numbers of an array that any file may have, such as an optimizer's or of text.
_SMALL = 1_000_000

#: Bytes of the weights in a ``.keras`` file for each number of the network: with an optimizer's.
_EXPANSION = 32


def _load_file(spec: BackboneSpec, model: keras.Model, path: Path, given: Path) -> None:
    """Load the weights of a file; `given` is how the user named it."""
    load = spec.load_weights or (lambda model, path: model.load_weights(path))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load(model, path)
        # the one case in which Keras leaves layers at random weights and only warns about it
        left_out = [w for w in caught if "freshly-initialized" in str(w.message)]
        for other in [w for w in caught if w not in left_out]:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        if left_out:
            raise ValueError(str(left_out[0].message))
        n_arrays = _arrays_in(path)
    except FundusError:
        raise
    except Exception as error:  # Keras and h5py raise errors of many types for a foreign file
        # Keras goes on with the values of the weights and a list of all layers
        reason = re.split(r"Target variable:|List of objects", str(error))[0]
        raise BundleError(
            f"The weights file {str(given)!r} does not fit the backbone {spec.name!r} "
            f"({type(error).__name__}: {' '.join(reason.split())}); give a file saved from that "
            "backbone without a classification top."
        ) from None
    if n_arrays is not None and n_arrays > len(model.weights):
        raise BundleError(
            f"The weights file {str(given)!r} holds {n_arrays} arrays, but the backbone "
            f"{spec.name!r} has {len(model.weights)}; give a file saved from that backbone "
            "without a classification top."
        )


def _arrays_in(path: Path) -> int | None:
    """Count the weights in a file of Keras 3, which loads a larger network's without a warning."""
    import h5py  # type: ignore[import-untyped]

    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source: Any = io.BytesIO(archive.read("model.weights.h5"))
    elif path.name.endswith(".weights.h5"):
        source = path
    else:
        return None
    with h5py.File(source, "r") as file:
        file.visititems(note)
    others = ("optimizer/", "metrics/", "seed_generator/")
    return sum("vars/" in name and not any(other in name for other in others) for name in names)


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of a model's weights, 64 hexadecimal digits, the same in every process.

    Names, shapes, dtypes and bytes of all weights count, in order. Names of layers do not, nor does
    a number at the end of a name: Keras counts up what else was built before.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(weight.numpy())
        name = re.sub(r"_\d+$", "", weight.name)
        digest.update(f"{name}|{value.shape}|{value.dtype.str}|".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
