"""``fundus train --site-column``: every site scored by a model that was trained without it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut

import fundus.cli.options as opt
from fundus.cli.resume import SITES
from fundus.cli.runs import INTERRUPTED, LOGS
from fundus.cli.training import make_model
from fundus.data.grouping import Grouping, group_images
from fundus.exceptions import DataError, DataWarning, Mention, Message, SplitError
from fundus.grades.icdr import N_GRADES, REFERABLE_GRADE, is_referable
from fundus.meta.ensemble import FoldEnsemble
from fundus.model_selection.splits import check_split
from fundus.recipes.table import INNER_FOLDS
from fundus.reporting.by_group import GroupReport, Referral, group_report

if TYPE_CHECKING:
    from rich.table import Table
    from sklearn.utils import Bunch

    from fundus.cli.settings import Settings
    from fundus.transfer.classifier import TransferClassifier

_PARAMETER = "site_column"


@dataclass(frozen=True, eq=False)
class Sites:
    """The sites, and the rows that each is trained and tested on.

    Parameters
    ----------
    grouping : Grouping
    folds : list of (train, test)
        One per site, in the order of the names.
    """

    grouping: Grouping
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True, eq=False)
class SiteReport:
    """Scores of every site by a model that was trained without it.

    Parameters
    ----------
    report : GroupReport
    n_trained : tuple of int
        Images that the model of each site was trained on.
    """

    report: GroupReport
    n_trained: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        found = self.report.to_dict()
        for group, n_trained in zip(found["groups"], self.n_trained, strict=True):
            group["n_trained"] = n_trained
        return {"column": self.report.column, **found}

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each site."""
        rows = []
        for group, n_trained in zip(self.report.groups, self.n_trained, strict=True):
            row: dict[str, Any] = {
                "site": group.name,
                "n_images": group.n_images,
                "n_trained": n_trained,
            }
            for name, measure in group.measures.items():
                row |= {
                    name: measure.value,
                    f"{name}_low": measure.interval.low,
                    f"{name}_high": measure.interval.high,
                }
            rows.append(row)
        return pd.DataFrame(rows)

    def to_table(self) -> Table:
        """Return the report for a terminal."""
        return self.report.to_table(
            f"Leave one site out, by {self.report.column}: models trained without the site"
        )


def plan_sites(graded: Bunch, settings: Settings) -> Sites | None:
    """Split by site, and check the split before anything is trained.

    Images without a site are neither trained nor tested on, since they may be of the site that is
    tested; nor are a patient's images at other sites trained on where the patient is tested.

    Parameters
    ----------
    graded : Bunch
    settings : Settings

    Returns
    -------
    Sites or None
        ``None`` without ``--site-column``.

    Raises
    ------
    DataError
        If there is no such column, it has one site only, or a site has a grade that none of the
        others has.
    SplitError
        If an image is at two sites, or what is left without a site cannot be split into the inner
        folds of ``--cutpoints`` or ``--calibrate``.

    Warns
    -----
    DataWarning
        If the site of images is not known, patients were seen at several sites, or all images of
        a site have one grade.
    """
    if settings.site_column is None:
        return None
    grouping = group_images(graded.frame, settings.site_column, role=_PARAMETER, bands=False)
    column, named = grouping.column, Mention(_PARAMETER)
    if len(grouping.names) < 2:
        text = (
            f"The column {column!r} for {named} has one site only, {grouping.names[0]!r}: leaving "
            "it out leaves nothing to train on."
        )
        raise DataError(Message(text, named))
    known = np.flatnonzero(grouping.codes >= 0)
    y, patients = graded.grades, np.asarray(graded.patients)
    folds, moved = [], 0
    splitter = LeaveOneGroupOut().split(known, y[known], grouping.codes[known])
    for site, (others, own) in zip(grouping.names, splitter, strict=True):
        train, test = known[others], known[own]
        apart = ~np.isin(patients[train], patients[test])
        moved += int((~apart).sum())
        train = train[apart]
        missing = np.setdiff1d(y[known], y[train])
        if len(missing):
            listed = ", ".join(graded.class_names[k] for k in missing)
            text = (
                f"Without the site {site!r} of {named}, no image of {listed} is left to train on: "
                f"join sites, or leave {named} out."
            )
            raise DataError(Message(text, named))
        _check_inner_folds(site, y[train], patients[train], settings)
        folds.append((train, test))
    _warn(grouping, folds, y, moved)
    check_split(
        folds,
        graded.frame,
        y,
        cache=True if settings.cache_dir is None else settings.cache_dir,
    )
    return Sites(grouping, folds)


def _check_inner_folds(
    site: str, y: NDArray[np.intp], patients: NDArray[Any], settings: Settings
) -> None:
    """Raise `SplitError` if the images of the other sites cannot be split once more."""
    if settings.cutpoints:
        inner = "--cutpoints"
    elif settings.calibrate is not opt.Calibrate.NONE:
        inner = "--calibrate"
    else:
        return
    try:
        # as the model of a fold does, with features in the place of images, which are checked apart
        check_split(
            INNER_FOLDS, np.zeros((len(y), 1)), y, groups=patients, random_state=settings.seed
        )
    except SplitError as error:
        named = Mention(_PARAMETER)
        advice = "give --no-cutpoints" if settings.cutpoints else "leave --calibrate out"
        text = (
            f"Without the site {site!r} of {named}, the other images cannot be split into the "
            f"{INNER_FOLDS} inner folds of {inner}: {error} Join sites, or {advice}."
        )
        raise SplitError(Message(text, named)) from error


def _warn(grouping: Grouping, folds: list[Any], y: NDArray[np.intp], moved: int) -> None:
    told = []
    if unknown := int((grouping.codes < 0).sum()):
        told.append(f"{unknown} images name no site, so they are left out")
    if moved:
        told.append(
            f"{moved} images are of a patient seen at several sites, and are not trained on where "
            "the patient is tested"
        )
    single = [
        name
        for name, (_, test) in zip(grouping.names, folds, strict=True)
        if len(np.unique(y[test])) < 2
    ]
    if single:
        told.append(
            f"all images have one grade at {', '.join(map(repr, single))}, which has no kappa"
        )
    if told:
        warnings.warn(
            f"Leaving one site out, by column {grouping.column!r}: {'; '.join(told)}.",
            DataWarning,
            stacklevel=3,
        )


def fit_sites(
    sites: Sites | None,
    classifier: TransferClassifier,
    graded: Bunch,
    settings: Settings,
    run: Path,
) -> SiteReport | None:
    """Train a model without each site, and score it there.

    Everything that a fold's model fits, its cutpoints and calibration too, comes from the other
    sites. What is done is kept in the run's folder as that of the folds is.

    Parameters
    ----------
    sites : Sites or None
    classifier : TransferClassifier
    graded : Bunch
    settings : Settings
    run : Path

    Returns
    -------
    SiteReport or None
        Sensitivity and specificity are those of the predicted grade, as an operating point would
        have to be chosen on models that have seen the site.
    """
    if sites is None:
        return None
    ensemble = FoldEnsemble(
        make_model(classifier, graded, settings, run / LOGS / SITES),
        cv=sites.folds,
        n_jobs=settings.jobs,
        random_state=settings.seed,
        resume_dir=run / INTERRUPTED / SITES,
    )
    with warnings.catch_warnings():
        # told before: a site held by one grade has no kappa
        warnings.filterwarnings("ignore", "Quadratic weighted kappa is undefined")
        ensemble.fit(graded.frame, graded.grades)
    tested = ensemble.oof_fold_ >= 0
    predicted = ensemble.oof_prediction_
    referral = None
    if graded.n_grades == N_GRADES:
        dme = None if graded.dme is None else np.nan_to_num(graded.dme)
        referral = Referral(
            is_referable(graded.grades, dme)[tested],
            (predicted >= REFERABLE_GRADE)[tested],
            f"predicted grade {REFERABLE_GRADE} or more",
        )
    grouping = sites.grouping
    report = group_report(
        np.asarray(graded.grades)[tested],
        np.asarray(predicted)[tested],
        Grouping(grouping.column, grouping.names, grouping.codes[tested]),
        n_grades=graded.n_grades,
        referral=referral,
        groups=np.asarray(graded.patients)[tested] if graded.patients_known else None,
    )
    return SiteReport(report, tuple(len(train) for train, _ in sites.folds))
