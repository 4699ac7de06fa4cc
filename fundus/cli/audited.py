"""What an audit has found, as files: of ``fundus audit``, and of a training in its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fundus.audit.lists import ODD
from fundus.audit.report import Audit
from fundus.audit.trained import LOOKED_AT, audit_of_training
from fundus.cli.data import files_of
from fundus.cli.files import FigureFiles, write_csv
from fundus.exceptions import DataWarning, FundusError, warn_caller
from fundus.reporting.displays.contact_sheet import ContactSheetDisplay

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from fundus.meta.ensemble import FoldEnsemble
    from fundus.reporting.evaluated import Evaluation

#: What each sheet shows.
DRAWN = {
    "suspects": "doubtful labels and odd pictures, with why",
    "pairs": "copies and near duplicates, two by two",
}
#: A row for each photograph of a run.
TABLE = "audit.csv"


def write_audit_sheets(
    whole: Audit,
    loaded: Bunch,
    drawn: FigureFiles,
    *,
    plain_text: bool = False,
    fold: np.ndarray | None = None,
) -> dict[str, str]:
    """Write the sheets and their tables, and return the description of each file by its name.

    Parameters
    ----------
    whole : Audit
    loaded : Bunch
        The photographs.
    drawn : FigureFiles
    plain_text : bool, default=False
        As in `write_csv`.
    fold : ndarray of int, shape (n_images,), default=None
        Of a training: the fold that tested each photograph, which the tables then say. Sheets
        without a photograph are not written.
    """
    files = {}
    tables = {"suspects": whole.suspects(), "pairs": whole.alike()}
    for which, found in tables.items():
        if fold is not None and not len(found):
            continue
        if fold is not None:
            rows = [name for name in ("row", "other_row") if name in found]
            sides = {row.replace("row", "fold"): fold[found[row].to_numpy(int)] for row in rows}
            found = found.assign(**sides)
        sheet = ContactSheetDisplay.from_audit(whole, loaded.paths, which=which)
        named = found.drop(columns=["row", "other_row"], errors="ignore")
        named = named.rename(columns={"path": "file", "other_path": "other_file"})
        write_csv(named, drawn.path(f"{which}.csv"), plain_text=plain_text)
        name = drawn.write(sheet.figure_, which)
        files[name] = DRAWN[which]
        files[drawn.path(f"{which}.csv").name] = f"all of them: {DRAWN[which]}"
    return files


def with_skipped(found: Audit, loaded: Bunch) -> Audit:
    """Name images as in the data set, and add those that could not be loaded."""
    from fundus.data.rows import check_files

    images = found.images.copy()
    for column in ("path", "duplicate_of", "near_duplicate_of"):
        known = images[column].dropna()
        images[column] = pd.Series(files_of(loaded, known.tolist()), known.index, dtype=object)
    if not loaded.patients_known:
        images["patient"] = None
    if len(loaded.skipped):
        aside = loaded.skipped[["path", "reason"]].reset_index(drop=True)
        unreadable = check_files(aside["path"].tolist())
        aside["issues"] = [
            "unreadable" if row in unreadable else "set_aside" for row in range(len(aside))
        ]
        aside["path"] = files_of(loaded, aside["path"].tolist())
        aside = aside.reindex(columns=images.columns).astype(images.dtypes)
        images = pd.concat([images, aside], ignore_index=True)
    return Audit(images, found.pairs, found.patients_known)


def write_audit(
    model: FoldEnsemble,
    graded: Bunch,
    report: Evaluation,
    digests: list[str],
    drawn: FigureFiles,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Audit the photographs of a training, and write what was found into its run.

    Digests, predictions and measures are there already, and so are the features of a network that
    is frozen; only the small pictures of candidates for near duplicates are decoded.

    Parameters
    ----------
    model : FoldEnsemble
    graded : Bunch
        What it was fitted on.
    report : Evaluation
        Out of fold.
    digests : list of str
        Of the pixels.
    drawn : FigureFiles

    Returns
    -------
    record : dict
        For metrics.json: counts, what was looked at, how many pairs were in two folds; or
        ``why`` there is none.
    files : dict of str to str
        Description of each file by its name.

    Warns
    -----
    DataWarning
        If the photographs cannot be audited, such as because some have moved meanwhile. The
        training is kept.
    """
    try:
        return _written(model, graded, report, digests, drawn)
    except Exception as error:  # whatever it is, the training is finished and is kept
        why = why_of(error)
        warn_caller(f"The photographs of the training were not audited: {why}", DataWarning)
        return {"why": why}, {}


def why_of(error: Exception) -> str:
    """Say what went wrong, with the type of an error that is not this library's."""
    return str(error) if isinstance(error, FundusError) else f"{type(error).__name__}: {error}"


def _written(
    model: FoldEnsemble,
    graded: Bunch,
    report: Evaluation,
    digests: list[str],
    drawn: FigureFiles,
) -> tuple[dict[str, Any], dict[str, str]]:
    measures, pairs = _looked_at(model, graded)
    fold, predictions = model.oof_fold_, report.predictions
    found = audit_of_training(
        list(graded.paths),
        report.y_true,
        graded.patients if graded.patients_known else None,
        digests,
        fold,
        proba=predictions.proba,
        severity=predictions.severity,
        measures=measures,
        pairs=pairs,
    )
    whole = with_skipped(found, graded)
    table = drawn.path(TABLE)
    write_csv(whole.images.rename(columns={"path": "file"}), table)
    files = {table.name: "what an audit says of each photograph"}
    files |= write_audit_sheets(whole, graded, drawn, fold=fold)
    alike = whole.alike()
    apart = fold[alike["row"].to_numpy(int)] != fold[alike["other_row"].to_numpy(int)]
    looked_at = [one for one in LOOKED_AT if one != "labels" or predictions.proba is not None]
    record = {
        **whole.to_dict(),
        "looked_at": looked_at,
        "n_pairs": len(alike),
        "n_pairs_apart": int(apart.sum()),
    }
    return record, files


def _looked_at(model: FoldEnsemble, graded: Bunch) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures of the photographs, and the pairs of near duplicates."""
    from fundus.data.inputs import as_images
    from fundus.frozen.photographs import PADDED_SHARE, measure_photographs
    from fundus.model_selection.near_duplicates import find_near_duplicates
    from fundus.store import open_store
    from fundus.transfer.features import FeatureExtractor

    reader, paths = model.readers()[0].model, list(graded.paths)
    shared = FeatureExtractor().get_params().keys() & reader.get_params(deep=False).keys()
    extractor = FeatureExtractor(**{name: getattr(reader, name) for name in shared})
    measures = measure_photographs(as_images(paths), open_store(reader.cache))
    pairs = find_near_duplicates(paths, extractor, cache=reader.cache, verbose=reader.verbose)
    return measures.assign(fov_share=measures[PADDED_SHARE]), pairs


def about_audit(record: dict[str, Any] | None) -> str:
    """Say in a line what the audit of a training has found; nothing without one."""
    if record is None or "why" in record:
        return ""
    issues = record["issues"]
    apart, odd = record["n_pairs_apart"], sum(issues[name] for name in ODD)
    told = [f"{issues['label_suspect']} doubtful labels"] if "labels" in record["looked_at"] else []
    told += [f"{odd} odd pictures", f"{record['n_pairs']} pairs of copies or near duplicates"]
    split = f"; {apart} pairs were in two folds, which makes scores too good" * bool(apart)
    return f"Audit of the photographs: {', '.join(told)}{split}. See {TABLE}."
