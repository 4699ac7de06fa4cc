"""Save and load fitted models as folders without pickle.

A bundle is a folder: ``model.json`` describes the model, ``*.npz`` and ``*.weights.h5`` hold
arrays, ``*.skops`` scikit-learn estimators, and ``manifest.json`` the SHA-256 of each file. No file
carries code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fundus._version import __version__
from fundus.exceptions import (
    BackendError,
    BundleError,
    HubError,
    MissingDependencyError,
    PluginError,
    UnknownNameError,
    WeightsNotAvailableError,
)
from fundus.hub.address import HubModel, hub_model
from fundus.hub.fetching import fetched, pinned, told_of
from fundus.plugins.models import MANIFEST as MANIFEST
from fundus.plugins.models import models_here, opened, ready_model
from fundus.runtime.whole import whole_folder
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.files import (
    MOST_BYTES,
    BundleReader,
    BundleWriter,
    is_plain_name,
    read_file,
)
from fundus.saving.old_formats import in_format_3
from fundus.saving.schema import TEXT, check_fields, count, instance

#: Raised when the layout changes; older bundles stay readable. 2: the photometric step is beside
#: the scale, where in format 1 three names meant both, and a regressor has its residuals' spread.
#: 3: each class names its saved attributes.
FORMAT = 3

MODEL = "model.json"

#: Largest manifest and ``model.json``, in bytes; arrays of numbers are in files of their own.
MOST_JSON = 256 << 20


def save(
    model: Any,
    path: str | os.PathLike[str],
    *,
    about: dict[str, Any] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> None:
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
    more : mapping of str to bytes, default=None
        More files, by their plain names; see `read_more`.

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
        for name, data in (more or {}).items():
            (part / name).write_bytes(data)
        (part / MODEL).write_text(json.dumps(record, indent=1, allow_nan=True), encoding="utf-8")
        files = {
            file.name: _sha256(file) for file in sorted(part.iterdir()) if file.name != MANIFEST
        }
        manifest = {"format": FORMAT, "files": files}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def load(path: str | os.PathLike[str], *, trusted: Sequence[str] = ()) -> Any:
    """Load a saved model from its folder, or a ready one by name; it predicts as the saved one.

    Every file is read once, and is compared with its digest in the manifest before it is used. What
    the files say is compared with what the classes say of their attributes, and heads are tried on
    small numbers, so that a model that was changed after it was saved is refused, and not wrong.

    Parameters
    ----------
    path : path or str
        The folder; or the name of a ready grader that ``fundus models`` lists, such as
        ``"idrid"``. Where a file or folder has that name, it is meant; ``"plugin/idrid"`` is the
        name in full. Or a model on the Hub: ``"hf://owner/name@commit"``; a branch or a tag, or
        nothing, instead of the commit is looked up now, and a warning says which commit it is.
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
        If the folder is not a bundle, a file is damaged, missing or a link, the format is newer
        than this release, a class is not trusted, or what was saved is not a sound model.
    UnknownNameError
        If the backbone or head comes from a plugin that is not installed; the message names the
        package. If several plugins offer a model of the name.
    HubError
        If a model on the Hub cannot be fetched; the message says what to do.
    MissingDependencyError
        If ``huggingface_hub`` is missing, for a model on the Hub.

    Warns
    -----
    UnpinnedWarning
        If a model on the Hub is named without a commit.

    See Also
    --------
    list_models : Names of the ready graders.
    """
    entry = ready_model(path)
    if entry is not None:
        with opened(entry) as folder:
            return load(folder, trusted=trusted)
    online = hub_model(path)
    if online is None:
        return _built(open_bundle(path, trusted))
    online = pinned(online)
    with told_of(online):
        return _built(_of_hub(online, trusted))


def _built(reader: BundleReader) -> Any:
    record = read_model(reader)
    with told_as_damage(reader.folder):
        model = record["model"] if record["format"] > 2 else in_format_3(record, reader)
        built = Decoder(reader).model(model)
    reader.check_the_rest()
    return built


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
    reader = open_bundle(path)
    record = read_model(reader)
    reader.check_the_rest()
    return record


def read_more(path: str | os.PathLike[str], name: str) -> tuple[bytes, bool] | None:
    """Read a file that was saved beside a model.

    Returns
    -------
    data : bytes
    listed : bool
        Whether the manifest has its digest, which earlier releases did not write.

    Or ``None`` if there is no such file.

    Raises
    ------
    BundleError
        If the file is damaged, a link, or no ordinary file.
    """
    reader = open_bundle(path)
    if name in reader.digests:
        return reader.read(name), True
    file = reader.folder / name
    if reader.links or not os.path.lexists(file):  # of the Hub, only what is listed was fetched
        return None
    return read_file(file), False


def open_bundle(path: str | os.PathLike[str], trusted: Sequence[str] = ()) -> BundleReader:
    """Read the manifest of a bundle, and fetch one that is on the Hub.

    Raises
    ------
    BundleError
        If there is none, or it is not one of this release or an earlier one.
    HubError
        If it is on the Hub and cannot be fetched.
    """
    online = hub_model(path)
    if online is not None:
        return _of_hub(pinned(online), trusted)
    folder = Path(path)
    hint = folder / "model"
    if not os.path.lexists(folder / MANIFEST) and os.path.lexists(hint / MANIFEST):
        raise BundleError(
            f"{str(folder)!r} is the folder of a run; its model is in {str(hint)!r}: load that."
        )
    if not os.path.lexists(folder):
        raise BundleError(
            f"{str(folder)!r} is not a saved model: there is no such folder, and no ready grader "
            f"of that name. {models_here()}"
        )
    return BundleReader(folder, tuple(trusted), _listed(folder))


def _of_hub(model: HubModel, trusted: Sequence[str]) -> BundleReader:
    def listed(folder: Path) -> dict[str, str]:
        return _listed(folder, links=True)

    with told_of(model):
        folder = fetched(model, listed, most=MOST_BYTES)
        return BundleReader(folder, tuple(trusted), listed(folder), links=True)


def _listed(folder: Path, *, links: bool = False) -> dict[str, str]:
    """Return the SHA-256 of each file that the manifest of a folder lists."""
    no_model = f"{str(folder)!r} is not a saved model: it must be a folder with a {MANIFEST}"
    if not os.path.lexists(folder / MANIFEST):
        raise BundleError(f"{no_model}. Got none: give the folder of a saved model.")
    manifest = _json(read_file(folder / MANIFEST, most=MOST_JSON, links=links), folder / MANIFEST)
    files, version = (_get(manifest, name) for name in ("files", "format"))
    if type(version) is not int or version < 1 or not isinstance(files, dict):
        raise BundleError(
            f"{no_model} of a format and files. Got {reprlib.repr(manifest)} instead."
        )
    if version > FORMAT:
        raise BundleError(
            f"The model in {str(folder)!r} has format {version}, this release reads up to "
            f"{FORMAT}: upgrade fundus-zoo."
        )
    for name, digest in files.items():
        whole = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
        if not is_plain_name(name) or name == MANIFEST or not whole:
            raise BundleError(
                f"The {MANIFEST} of {str(folder)!r} must list plain names of files with their "
                f"SHA-256. Got {reprlib.repr(name)}: {reprlib.repr(digest)} instead."
            )
    if MODEL not in files:
        raise BundleError(
            f"The {MANIFEST} of {str(folder)!r} must list all files. Got none named {MODEL!r}."
        )
    return files


def read_model(reader: BundleReader) -> dict[str, Any]:
    """Read ``model.json``.

    Raises
    ------
    BundleError
        If it is damaged or does not have the parts that every record has.
    """
    record = _json(reader.read(MODEL, most=MOST_JSON), reader.folder / MODEL)
    with told_as_damage(reader.folder):
        check_fields("model", _RECORD, record if isinstance(record, dict) else {})
    return record


@contextmanager
def told_as_damage(folder: Path) -> Iterator[None]:
    """Turn what building a model from a changed record may raise into an error that says so.

    Errors about this machine, such as a plugin that is not installed, stay as they are.
    """
    try:
        yield
    except (*_OF_THIS_MACHINE, Warning):
        raise
    except Exception as error:  # of any package whose objects are built
        text = " ".join(str(error).split())
        raise BundleError(
            f"The model in {str(folder)!r} cannot be built from its {MODEL} "
            f"({type(error).__name__}: {text[:500]}): it is damaged, was changed after it was "
            "saved, or was saved with other versions of the packages."
        ) from error


#: What every ``model.json`` holds.
_RECORD = {
    "format": count(1, FORMAT),
    "fundus": TEXT,
    "about": instance(dict, "a JSON object"),
    "model": instance(dict, "a JSON object"),
}

_OF_THIS_MACHINE = (
    BundleError,
    UnknownNameError,
    WeightsNotAvailableError,
    BackendError,
    HubError,
    MissingDependencyError,
    PluginError,
)


def _json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise BundleError(
            f"The file {str(path)!r} is not a saved model's: it must be JSON "
            f"({type(error).__name__}: {error}). Copy the model again."
        ) from None


def _get(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, dict) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
