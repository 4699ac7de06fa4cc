"""``fundus verify``: checks that a run or a saved model is whole, and says what was checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fundus.cli.options as opt
from fundus.cli.screen import Screen, cell
from fundus.exceptions import BundleError, FundusError

#: The ``kind`` of the JSON document.
KIND = "fundus verification"


@dataclass(frozen=True)
class Check:
    """What one check looked at, and what it found.

    Parameters
    ----------
    check : str
    sound : bool or None
        ``None`` if there was nothing to check.
    found : str
    """

    check: str
    sound: bool | None
    found: str


def verify(
    run: opt.Run,
    trusted: opt.Trust = None,
    json: opt.Json = False,
) -> None:
    """Check that a run or a saved model is whole, sound and can predict; nothing is written."""
    from fundus.cli.runs import folder_of_model
    from fundus.hub.address import name_of
    from fundus.runtime.terminal import new_table

    screen = Screen(json=json)
    checks = checks_of(run, folder_of_model(run), tuple(trusted or ()))
    bad = [check for check in checks if check.sound is False]
    screen.emit(
        {"kind": KIND, "run": name_of(run), "sound": not bad, "checks": [asdict(c) for c in checks]}
    )
    table = new_table(name_of(run), "checked", "", "found")
    for check in checks:
        mark, style = _MARKS[check.sound]
        table.add_row(cell(check.check), cell(mark, style), cell(check.found))
    screen.show(table)
    if bad:
        raise BundleError(f"{str(run)!r} is not sound: {bad[0].check}: {bad[0].found}")
    screen.show("All that was checked is sound.")


_MARKS = {True: ("sound", "green"), False: ("NOT SOUND", "bold red"), None: ("not there", "dim")}


def checks_of(run: Path, folder: Path, trusted: tuple[str, ...]) -> list[Check]:
    """Check a run, a saved model or a ready grader, whose model is in the folder given."""
    from fundus.cli.runs import MODEL
    from fundus.saving.bundle import load

    checks = [
        _checked("format", lambda: _format(folder)),
        _checked("files", lambda: _files(folder)),
    ]
    loaded: list[Any] = []

    def model() -> str:
        loaded.append(load(folder, trusted=trusted))
        return _about(loaded[0])

    checks.append(_checked("record and model", model))
    if loaded:
        checks.append(_checked("prediction", lambda: _prediction(loaded[0])))
    checks.append(_checked("training images", lambda: _training_images(folder, loaded)))
    adapted = _checked("adapting images", lambda: _adapted(folder))
    checks += [adapted] * (adapted.sound is not None)
    if folder == run / MODEL:  # a saved model and a ready grader have no results
        checks.append(_checked("results", lambda: _results(run)))
    return checks


def _checked(name: str, look: Callable[[], str | None]) -> Check:
    """Run a check, which returns what it found, None for nothing to check, or raises."""
    try:
        found = look()
    except (FundusError, OSError) as error:
        return Check(name, False, " ".join(str(error).split()))
    return Check(name, None, "nothing was saved") if found is None else Check(name, True, found)


def _format(folder: Path) -> str:
    from fundus import __version__
    from fundus.saving.bundle import FORMAT, open_bundle, read_model

    record = read_model(open_bundle(folder))
    return (
        f"format {record['format']}, written by fundus-zoo {record['fundus']}; fundus-zoo "
        f"{__version__} reads up to {FORMAT}"
    )


def _files(folder: Path) -> str:
    from fundus.saving.bundle import MANIFEST, open_bundle

    reader = open_bundle(folder)
    n_bytes = sum(len(reader.read(name)) for name in sorted(reader.digests))
    others = {path.name for path in reader.folder.iterdir()} - {*reader.digests, MANIFEST}
    unlisted = f"; not in the manifest, and so not checked: {', '.join(sorted(others))}"
    return (
        f"{len(reader.digests)} files, {n_bytes:,} bytes, with the SHA-256 that the manifest gives"
        + unlisted * bool(others)
    )


def _about(model: Any) -> str:
    grades = getattr(model, "grades_", getattr(model, "classes_", None))
    inner = getattr(getattr(model, "ensemble_", model), "estimators_", None)
    parts = [type(model).__name__]
    if isinstance(inner, list):
        parts.append(f"models of {len(inner)} folds")
    if grades is not None:
        parts.append(f"grades {', '.join(map(str, grades.tolist()))}")
    return "; ".join(parts) + "; every saved value is what its class allows"


def _prediction(model: Any) -> str | None:
    """Predict a grey picture: the frozen layers and the heads must fit each other."""
    import numpy as np

    from fundus.grades.foreign import as_grader

    grader = as_grader(model)
    if not grader.takes_images:
        return None
    for reader in grader.readers():
        reader.model.set_params(cache=False)
    picture = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            grade = model.predict(picture)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise BundleError(f"The model cannot predict ({error}).") from error
    return f"a grey picture has a grade ({grade.tolist()[0]})"


def _training_images(folder: Path, loaded: list[Any]) -> str | None:
    from fundus.cli.runs import TRAINING_IMAGES, read_digests
    from fundus.saving.bundle import read_more

    digests, more = read_digests(folder), read_more(folder, TRAINING_IMAGES)
    if digests is None or more is None:
        return None
    n_rows = more[0].count(b"\n") - 1
    for model in loaded:
        fold = getattr(getattr(model, "ensemble_", model), "oof_fold_", None)
        if fold is not None and len(fold) != n_rows:
            raise BundleError(
                f"{TRAINING_IMAGES} must have the {len(fold)} images that the model was fitted "
                f"on. Got {n_rows}."
            )
    listed = "with" if more[1] else "without, as an earlier release wrote them,"
    return f"digests of {len(digests)} images, {listed} a SHA-256 in the manifest"


def _adapted(folder: Path) -> str | None:
    from fundus.cli.runs import ADAPTING_IMAGES, read_digests
    from fundus.saving.bundle import read_record

    about = read_record(folder)["about"].get("adapted")
    digests = read_digests(folder, ADAPTING_IMAGES)
    if about is None and digests is None:
        return None
    try:
        source, date, n_images = about["from"], about["date"], about["n_images"]
        named = f"{source['run']} ({source['manifest_sha256'][:12]})"
    except (TypeError, KeyError) as error:
        raise BundleError(
            f"The record of the adaptation is not what adapt writes ({error!r})."
        ) from None
    if digests is None or len(digests) > n_images:
        raise BundleError(
            f"{ADAPTING_IMAGES} must have the {n_images} images that the model was adapted on. Got "
            f"{len(digests or ())}."
        )
    return f"adapted from {named} on {date}; digests of {len(digests)} of its {n_images} images"


def _results(run: Path) -> str:
    import json

    from fundus.cli.runs import METRICS

    try:
        document = json.loads((run / METRICS).read_text(encoding="utf-8"))
        files, n_images = document["files"], document["data"]["n_images"]
        n_tested = sum(fold["n_images"] for fold in document["folds"])
        names = [name for name in files if isinstance(name, str)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"The file {str(run / METRICS)!r} is not what train writes "
            f"({type(error).__name__}: {error})."
        ) from None
    gone = [name for name in names if not (run / name).exists()]
    if gone:
        raise BundleError(f"{METRICS} lists {', '.join(gone)}, which {str(run)!r} does not have.")
    if n_tested != n_images:
        raise BundleError(f"{METRICS} has {n_images} images, and {n_tested} in the folds' tests.")
    return f"{METRICS} and the {len(names)} files that it lists are there; {n_images} images"
