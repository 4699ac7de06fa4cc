"""`export_model`: a fitted model as a folder that runs without this library."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from importlib.resources import files
from pathlib import Path
from typing import Any

from fundus.exceptions import ExportError, Mention, Message
from fundus.export.about import KIND, card, description
from fundus.export.checking import check_written
from fundus.export.formats import Format, format_of
from fundus.runtime.whole import whole_folder, writing
from fundus.tracing.mixin import trace_model

ABOUT = "model.json"
CARD = "model_card.md"
RUN = "run.py"
PREPARE = "prepare.py"


def export_model(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    to: str = "onnx",
    overwrite: bool = False,
    more: str = "",
) -> dict[str, float]:
    """Write a fitted model as a folder that runs without this library.

    The folder holds the model's file, ``model.json`` and ``model_card.md``, which say what goes in
    and comes out, ``prepare.py``, which makes the picture of a photograph's file, and ``run.py``,
    which grades photographs with it. What was written is opened again and compared with the model.

    Parameters
    ----------
    model : classifier
        Fitted; see ``to_keras`` of this package's graders for what can be exported. Any other model
        of images may be a Pipeline that begins with `FeatureExtractor`.
    folder : path-like
        New or empty.
    to : {"onnx", "keras", "tflite"}, default="onnx"
        ONNX and TensorFlow Lite need the extras ``onnx`` and ``tflite``.
    overwrite : bool, default=False
        Replace an earlier export in `folder`; anything else that lies there is never replaced.
    more : str, default=""
        Markdown to end the model card with.

    Returns
    -------
    dict of str to float
        Largest difference of each output from the model on photographs that are drawn for it; of
        "grade" the number of other grades, which is 0.

    Raises
    ------
    ExportError
        If a part of the model has no counterpart in the graph, the file does not predict as the
        model does, or `folder` has files in it.
    MissingDependencyError
        If the packages of a format are not installed.
    WriteError
        If the folder cannot be written; what was there before is as it was.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from fundus import TransferClassifier
    >>> X = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    >>> model = TransferClassifier("tiny", "ridge", weights="fixed", crop=None, cache=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     away = export_model(model.fit(X, [0, 1, 2, 3] * 2), folder, to="keras")
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['model.json', 'model.keras', 'model_card.md', 'prepare.py', 'run.py']
    >>> away["severity"] < 1e-4
    True
    """
    kind, target = format_of(to), Path(folder)
    replaced = _refuse_taken(target, overwrite)
    graph, trace = trace_model(model)
    if "grade" not in graph.output:
        raise ExportError(
            f"{type(model).__name__} predicts numbers and knows no grades: put it into a "
            "classifier of grades, such as FixedCutpointClassifier(FrozenEstimator(model))."
        )
    assert trace.recipe is not None
    written = _beside(target) if replaced else target
    with whole_folder(written) as part:
        kind.write(graph, part / kind.file)
        away = check_written(model, trace.recipe, kind.runner(part / kind.file), to)
        digest = hashlib.sha256((part / kind.file).read_bytes()).hexdigest()
        about = description(model, trace.recipe, graph.output, kind, digest)
        _write_texts(part, about, kind, more)
    if replaced:
        _take_place(written, target)
    return away


def _refuse_taken(target: Path, overwrite: bool) -> bool:
    """Whether an earlier export is to be replaced; raise for anything else that is there."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    ours = target.is_dir() and is_export(target)
    if overwrite and ours:
        _refuse_fixed(target)
        return True
    what = "an earlier export" if ours else "files that are no export"
    told = Mention("overwrite", text="overwrite=True")
    advice = f"pass {told} to replace it" if ours else "choose a new or an empty folder"
    text = (
        f"A model is exported into a new or empty folder. {str(target)!r} holds {what}: {advice}."
    )
    raise ExportError(Message(text, *([told] if ours else [])))


def _refuse_fixed(target: Path) -> None:
    """Refuse to replace a folder that cannot be renamed, or in which this process works."""
    real, here = os.path.realpath(target), os.path.realpath(os.curdir)
    mounted = os.path.ismount(real)
    if mounted or here == real or here.startswith(os.path.join(real, "")):
        what = "a disk is mounted there" if mounted else "it is, or holds, the working folder"
        raise ExportError(
            f"An export is replaced by renaming its folder. {str(target)!r} cannot be: {what}. "
            "Choose a folder inside it, or work from another one."
        )


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export, and nothing else."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        known = {ABOUT, CARD, RUN, PREPARE, about["file"], "__pycache__"}
        return about["kind"] == KIND and {path.name for path in folder.iterdir()} <= known
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _beside(target: Path) -> Path:
    real = Path(os.path.realpath(target))
    return real.with_name(f".{real.name}.{uuid.uuid4().hex[:8]}.new")


def _take_place(new: Path, target: Path) -> None:
    """Put a folder in the place of another; a kill in between leaves both under hidden names."""
    real = Path(os.path.realpath(target))
    old = new.with_suffix(".old")
    with writing(target):
        try:
            os.rename(real, old)
            try:
                os.rename(new, real)
            except BaseException:
                os.rename(old, real)
                raise
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        shutil.rmtree(old)


def _write_texts(part: Path, about: dict[str, Any], kind: Format, more: str) -> None:
    templates = files("fundus.export") / "templates"
    text = json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False)
    (part / ABOUT).write_text(text + "\n", encoding="utf-8")
    (part / CARD).write_text(card(about, more), encoding="utf-8")
    for name, template in ((RUN, f"run_{kind.name}.py.txt"), (PREPARE, "prepare.py.txt")):
        (part / name).write_text((templates / template).read_text("utf-8"), encoding="utf-8")
