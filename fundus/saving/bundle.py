"""Save and load fitted models as folders without pickle.

A bundle is a folder: ``model.json`` describes the model, ``*.npz`` and ``*.weights.h5`` hold
arrays, ``*.skops`` scikit-learn estimators, and ``manifest.json`` the SHA-256 of each file. No file
carries code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fundus._version import __version__
from fundus.exceptions import BundleError
from fundus.runtime.whole import whole_folder
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.files import BundleReader, BundleWriter
from fundus.saving.old_formats import in_format_3

#: Raised when the layout changes; older bundles stay readable. 2: the photometric step is beside
#: the scale, where in format 1 three names meant both, and a regressor has its residuals' spread.
#: 3: each class names its saved attributes.
FORMAT = 3

MANIFEST = "manifest.json"
MODEL = "model.json"


def save(model: Any, path: str | os.PathLike[str], *, about: dict[str, Any] | None = None) -> None:
    """Write a fitted model into a folder, completely or not at all.

    Parameters
    ----------
    model : estimator
        Fitted; a subclass of `Saves`, as in this library, or one from scikit-learn. A search is
        saved as its best estimator. A ``cv`` is kept where it is a number or a splitter of
        scikit-learn's with plain parameters; a loaded ensemble has the number of its models instead
        of folds given as row numbers.
    path : path
        A folder that does not exist yet, or an empty one.
    about : dict, default=None
        More to keep in ``model.json``, such as the names of the classes; JSON values only.

    Raises
    ------
    BundleError
        If the folder has files in it, or the model holds something that only code could rebuild,
        such as a function as normaliser.
    WriteError
        If the folder cannot be written, as where the disk is full, or is a link or the working
        folder.
    """
    target = Path(path)
    if os.path.exists(target) and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(
            f"A model can be saved into a new or empty folder only. {str(target)!r} has files in "
            "it: remove them or choose another folder."
        )
    with whole_folder(target) as part:
        encoder = Encoder(BundleWriter(part))
        record = {
            "format": FORMAT,
            "fundus": __version__,
            "about": about or {},
            "model": encoder.model(model),
        }
        (part / MODEL).write_text(json.dumps(record, indent=1, allow_nan=True), encoding="utf-8")
        files = {
            file.name: _sha256(file) for file in sorted(part.iterdir()) if file.name != MANIFEST
        }
        manifest = {"format": FORMAT, "files": files}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def load(path: str | os.PathLike[str], *, trusted: Sequence[str] = ()) -> Any:
    """Load a model that was saved into a folder; it predicts the same as the saved one.

    Parameters
    ----------
    path : path
        The folder.
    trusted : sequence of str, default=()
        Names of further classes that may be loaded, as ``"package.module.Class"``: types of heads
        of other packages than scikit-learn, and saveable estimators that are not imported yet.

    Returns
    -------
    estimator
        Fitted.

    Raises
    ------
    BundleError
        If the folder is not a bundle, a file is damaged or missing, the format is newer than this
        release, or a class is not trusted.
    UnknownNameError
        If the backbone or head comes from a plugin that is not installed; the message names the
        package.
    """
    record = read_record(path)
    reader = BundleReader(Path(path), tuple(trusted))
    model = record["model"] if record["format"] > 2 else in_format_3(record, reader)
    return Decoder(reader).model(model)


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Check a bundle's files and return the content of ``model.json``.

    Parameters
    ----------
    path : path
        The folder.

    Raises
    ------
    BundleError
        As in `load`.
    """
    folder = Path(path)
    if not (folder / MANIFEST).exists() and (folder / "model" / MANIFEST).exists():
        hint = folder / "model"
        raise BundleError(
            f"{str(folder)!r} is the folder of a run; its model is in {str(hint)!r}: load that."
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files, version = manifest["files"], manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{str(folder)!r} is not a saved model: it must be a folder with a {MANIFEST} "
            f"({type(error).__name__}: {error})."
        ) from None
    if version > FORMAT:
        raise BundleError(
            f"The model in {str(folder)!r} has format {version}, this release reads up to "
            f"{FORMAT}: upgrade fundus-zoo."
        )
    for name, digest in files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"The model in {str(folder)!r} lacks its file {name!r}.")
        if _sha256(file) != digest:
            raise BundleError(
                f"The file {str(file)!r} is damaged: its SHA-256 is not the one in {MANIFEST}."
            )
    return json.loads((folder / MODEL).read_text(encoding="utf-8"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
