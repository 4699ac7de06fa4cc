"""Keras models as files: Keras's own, ONNX and TensorFlow Lite, and how each is run."""

from __future__ import annotations

import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import ExportError, MissingDependencyError
from fundus.parameters import invalid

if TYPE_CHECKING:
    import keras

#: From uint8 pictures to the outputs by name.
Runner = Callable[[NDArray[np.uint8]], dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Format:
    """A kind of file that a model is exported to.

    Parameters
    ----------
    name : str
        As ``to=`` takes it.
    file : str
        Name of the file.
    write : callable
        ``write(model, path)``.
    runner : callable
        ``runner(path)`` opens the file and returns a `Runner`.
    needs : tuple of str
        Modules that both need beside those of this package.
    runs_with : tuple of str
        Distributions that the file is run with.
    extra : str
        The extra that brings them; empty where none is needed.
    """

    name: str
    file: str
    write: Callable[[keras.Model, Path], None]
    runner: Callable[[Path], Runner]
    needs: tuple[str, ...] = ()
    runs_with: tuple[str, ...] = ()
    extra: str = ""


def format_of(name: str) -> Format:
    """Return a format by its name, whose packages are there.

    Raises
    ------
    InvalidParameterError
        If there is none of that name.
    MissingDependencyError
        If its packages are not installed.

    Examples
    --------
    >>> format_of("keras").file
    'model.keras'
    """
    if name not in FORMATS:
        expected = f"one of {', '.join(map(repr, FORMATS))}"
        raise invalid("export_model", "to", expected, name)
    found = FORMATS[name]
    missing = [module for module in found.needs if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"Exporting to {name!r} needs {', '.join(missing)}, not installed here: "
            f"pip install 'fundus-zoo[{found.extra}]'."
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Converters warn of numpy's and of their own future, and log what they do."""
    named = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    before = [logger.level for logger in named]
    try:
        for logger in named:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(named, before, strict=True):
            logger.setLevel(level)


def _write_keras(model: keras.Model, path: Path) -> None:
    model.save(path)
    _refuse_foreign(path)
    _settled(path)


def _refuse_foreign(path: Path) -> None:
    """Refuse an archive with objects of other packages than Keras, which opens only with them."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    foreign = sorted({f"{kind} of {module}" for kind, module in _objects(config)
                      if module != "builtins" and module.split(".")[0] != "keras"})  # fmt: skip
    if foreign:
        raise ExportError(
            "A '.keras' file must open where only Keras is. The model cannot be exported to "
            f"'keras': it has layers of other packages ({', '.join(foreign)}). Export it to 'onnx'."
        )


def _objects(config: Any) -> Iterator[tuple[str, str]]:
    """Class and module of all objects of a Keras configuration, nested ones too."""
    if isinstance(config, dict):
        if isinstance(config.get("module"), str) and "class_name" in config:
            yield config["class_name"], config["module"]
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _objects(part)


def _settled(path: Path) -> None:
    """Write a Keras archive again, without dates, and with numbers in the place of addresses."""
    numbers: dict[bytes, bytes] = {}

    def numbered(found: re.Match[bytes]) -> bytes:
        return found[1] + numbers.setdefault(found[2], b"%d" % len(numbers))

    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(members):
            if name == "metadata.json":
                about = json.loads(data)
                about.pop("date_saved", None)
                data = json.dumps(about, sort_keys=True).encode()
            elif name == "config.json":
                data = re.sub(rb'("shared_object_id": )(\d+)', numbered, data)
            archive.writestr(zipfile.ZipInfo(name), data)


def _run_keras(path: Path) -> Runner:
    import keras

    model = keras.models.load_model(path, compile=False)

    def run(pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        found = model(pictures, training=False)
        return {name: np.asarray(values) for name, values in found.items()}

    return run


def _write_onnx(model: keras.Model, path: Path) -> None:
    import onnx

    from fundus.export.canonical import canonical

    with _quiet():
        model(np.zeros((1, *model.input.shape[1:]), np.uint8), training=False)  # Keras asks for it
        model.export(path, format="onnx", verbose=False)
    graph = canonical(onnx.load(path), list(model.output))
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _run_onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (picture,) = (given.name for given in session.get_inputs())

    def run(pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {picture: pictures}), strict=True))

    return run


def _write_tflite(model: keras.Model, path: Path) -> None:
    with _quiet():
        model.export(path, format="litert", verbose=False)


def _run_tflite(path: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    try:
        run_one = Interpreter(model_path=str(path)).get_signature_runner()
    except RuntimeError as error:
        raise ExportError(
            "The model cannot be exported to 'tflite': it has operations that TensorFlow Lite "
            f"lacks ({str(error).splitlines()[-1]}). Export it to 'onnx' or 'keras'."
        ) from error
    (name,) = run_one.get_input_details()

    def run(pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        rows = [run_one(**{name: picture[np.newaxis]}) for picture in pictures]
        return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}

    return run


FORMATS = {
    kind.name: kind
    for kind in (
        Format("keras", "model.keras", _write_keras, _run_keras, runs_with=("keras", "tensorflow")),
        Format(
            "onnx",
            "model.onnx",
            _write_onnx,
            _run_onnx,
            ("onnx", "onnxruntime", "tf2onnx"),
            ("onnxruntime",),
            "onnx",
        ),
        Format(
            "tflite",
            "model.tflite",
            _write_tflite,
            _run_tflite,
            ("ai_edge_litert",),
            ("ai-edge-litert",),
            "tflite",
        ),
    )
}
