"""`audit_images`: what is wrong, or odd, in a data set before anything is trained on it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length

from fundus.audit.notes import Notes, note_copies, note_labels, note_pairs, note_quality
from fundus.audit.report import Audit
from fundus.data.inputs import Images, as_images
from fundus.exceptions import DataWarning, ImageReadError
from fundus.frozen.pixel_digests import pixel_digests
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import grade_scale, to_positions
from fundus.grades.patients import read_patients
from fundus.images.quality import MEASURED_AT, Quality, measure_quality
from fundus.meta.ensemble import FoldEnsemble
from fundus.model_selection.near_duplicates import find_near_duplicates
from fundus.model_selection.splits import make_cv
from fundus.runtime.progress import track
from fundus.runtime.threads import prefetch, thread_count
from fundus.store import open_store
from fundus.transfer.classifier import TransferClassifier
from fundus.transfer.features import FeatureExtractor


def audit_images(
    X: Any,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    grades: int = N_GRADES,
    extractor: FeatureExtractor | None = None,
    head: Any = "logistic",
    cv: Any = 5,
    near_duplicates: bool = True,
    cache: Any = True,
    n_jobs: int | None = None,
    random_state: Any = 0,
    verbose: int = 0,
) -> Audit:
    """Look for copies, doubtful labels and poor photographs.

    Nothing is changed and nothing is called an error: the result says where to look. A label is
    suspect where it has one of the lowest tenth of self-confidences and another grade is likelier.

    Parameters
    ----------
    X : images
        Paths, a frame with a ``path`` column, or uint8 RGB arrays (n, height, width, 3). Files
        that cannot be read are reported.
    y : array-like of int, shape (n_samples,), default=None
        Grades in ``range(grades)``; without them labels are not looked at.
    groups : array-like, shape (n_samples,), default=None
        Patients; a frame's own ``patient`` column where they are not given.
    grades : int, default=5
        Length of the scale.
    extractor : FeatureExtractor, default=None
        Computes the features for near-duplicates and labels; by default that of the default
        backbone.
    head : str or estimator, default="logistic"
        Its out-of-fold probabilities are compared with the labels.
    cv : int, splitter or None, default=5
        Folds, which keep patients, copies and near-duplicates together; ``None`` leaves labels out.
    near_duplicates : bool, default=True
        Whether to look for them, which takes longest; see `find_near_duplicates`.
    cache : bool, path or Cache, default=True
        Where digests, and features that are computed here, are kept.
    n_jobs : int, default=None
        Threads.
    random_state : int, RandomState or None, default=0
        Of the folds and the head.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    Audit
        Its ``images`` is a frame with a row for each image: ``path``, ``grade``, ``patient``;
        ``issues``, separated by semicolons; ``duplicate_of`` and ``near_duplicate_of``, other
        images (the first, or the most alike); ``correlation`` with the latter; ``fov_share``,
        ``brightness`` and ``sharpness``, as `Quality` has them; ``self_confidence``, the
        out-of-fold probability of the given grade (the lower, the more suspect; ``nan`` where the
        model was not shown that grade); ``likely_grade``, the likeliest among grades whose
        probability is at least the mean self-confidence of images that have it, missing where
        there is none; ``severity``, out of fold; and ``reason``, why a file cannot be read.

    Raises
    ------
    DataError
        If lengths differ.
    InvalidGradeError
        If a grade is missing or outside the scale.
    SplitError
        If there are fewer patients, or images of a grade, than folds.
    ImageReadError
        If no file can be read.

    References
    ----------
    .. [1] C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident learning: estimating uncertainty
       in dataset labels", JAIR 70, 2021. :doi:`10.1613/jair.1.12125`

    Examples
    --------
    >>> from shutil import copy
    >>> from tempfile import TemporaryDirectory
    >>> from fundus import make_fundus
    >>> tiny = FeatureExtractor("tiny", weights="fixed", cache=False)
    >>> with TemporaryDirectory() as folder:
    ...     data = make_fundus(20, 96, 0, out_dir=folder)
    ...     X = [*data.paths, copy(data.paths[0], f"{folder}/copy.jpeg")]
    ...     y = [*data.grades, 1]
    ...     audit = audit_images(X, y, [*data.patients, "new"], extractor=tiny, cv=2, cache=False)
    >>> int(y[0]), audit.count("duplicate"), audit.count("conflicting_labels")
    (0, 2, 2)
    """
    images = as_images(X)
    check_consistent_length(range(len(images)), y)
    positions = None if y is None else to_positions(y, grade_scale(grades), name="y")
    patients = images.patients if groups is None else read_patients(groups, len(images))
    n = len(images)
    named = images.paths
    table = pd.DataFrame(
        {
            "path": [images.where(row) for row in range(n)] if named is None else named.tolist(),
            "grade": pd.array([None] * n if positions is None else positions, dtype="Int64"),
            "patient": np.arange(n) if patients is None else patients,
        }
    )
    notes = Notes(n)
    table, readable = _measure(images, table, notes, n_jobs, verbose)
    part = images.subset(readable)
    digests = pixel_digests(part, open_store(cache), n_jobs=n_jobs)
    copies = note_copies(digests, readable, table, notes)
    features = np.empty((0, 0), dtype=np.float32)
    if near_duplicates or (positions is not None and cv is not None):
        extractor = extractor or FeatureExtractor(cache=cache, n_jobs=n_jobs, verbose=verbose)
        features = extractor.fit_transform(part)
    if near_duplicates:
        pairs = find_near_duplicates(part, features, cache=cache, n_jobs=n_jobs, verbose=verbose)
        pairs = pairs.assign(first=readable[pairs["first"]], second=readable[pairs["second"]])
    else:
        pairs = pd.DataFrame(columns=["first", "second", "correlation", "mirrored"])
    note_pairs(pairs, table, notes)
    together = _joined(table["patient"].to_numpy(), copies, pairs)
    table["self_confidence"] = np.nan
    table["likely_grade"] = pd.array([None] * n, dtype="Int64")
    table["severity"] = np.nan
    if positions is not None and cv is not None:
        if len(np.unique(positions[readable])) < 2:
            warnings.warn(
                "The labels are not looked at, since all images have one grade.",
                DataWarning,
                stacklevel=2,
            )
        else:
            classifier = TransferClassifier(
                "precomputed", head, grades=grades, random_state=random_state
            )
            rows = readable, together[readable]
            _judge_labels(classifier, features, positions, rows, cv, random_state, table, notes)
    table.insert(3, "issues", notes.text())
    return Audit(table, pairs, patients is not None)


def _measure(
    images: Images, table: pd.DataFrame, notes: Notes, n_jobs: int | None, verbose: int
) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Add the measures of quality; return which rows can be read, too."""

    def one(row: int) -> Quality | ImageReadError:
        try:
            return measure_quality(images.picture(row, MEASURED_AT))
        except ImageReadError as error:
            return error

    n = len(images)
    work = prefetch(one, range(n), threads=thread_count(n_jobs), ahead=64)
    results = [
        result
        for _, result in track(
            (([row], result) for row, result in work), total=n, what="Measuring", show=verbose
        )
    ]
    good = np.array([isinstance(result, Quality) for result in results])
    if not good.any():
        raise ImageReadError(f"None of the {n} images can be read; the first: {results[0]}")
    measures = [vars(result) if isinstance(result, Quality) else {} for result in results]
    frame = pd.DataFrame(measures, columns=["fov_share", "brightness", "sharpness"], dtype=float)
    reasons = [None if isinstance(result, Quality) else str(result) for result in results]
    notes.add("unreadable", np.flatnonzero(~good))
    note_quality(frame, notes)
    table = table.join(frame)
    table["reason"] = pd.Series(reasons, dtype=object)
    return table, np.flatnonzero(good)


def _joined(
    patients: NDArray[Any], copies: NDArray[np.intp], pairs: pd.DataFrame
) -> NDArray[np.intp]:
    """Number the sets of images that a split must keep together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(patients)
    known = copies >= 0
    by_patient, by_copy = pd.factorize(patients)[0], copies[known]
    # images are the first n nodes; each patient and each picture is a node that joins them
    ends = [
        (np.arange(n), n + by_patient),
        (np.flatnonzero(known), 2 * n + by_copy),
        (pairs["first"].to_numpy(np.intp), pairs["second"].to_numpy(np.intp)),
    ]
    a, b = (np.concatenate(side) for side in zip(*ends, strict=True))
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(3 * n, 3 * n))
    return connected_components(graph, directed=False)[1][:n]


def _judge_labels(
    classifier: TransferClassifier,
    features: NDArray[np.float32],
    positions: NDArray[np.intp],
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
    cv: Any,
    random_state: Any,
    table: pd.DataFrame,
    notes: Notes,
) -> None:
    """Add what models that have not seen an image say of its grade."""
    readable, groups = rows
    y = positions[readable]
    splitter = make_cv(cv, y, groups, random_state)
    folds = list(splitter.split(features, y, groups))
    model = FoldEnsemble(classifier, cv=folds).fit(features, y, groups=groups)
    shown = np.zeros(len(y), dtype=bool)
    for train, test in folds:
        shown[test] = np.isin(y[test], y[train])
    grades = model.classes_
    note_labels(y, model.oof_proba_, grades, shown, readable, table, notes)
    table.loc[readable, "severity"] = model.oof_severity_
