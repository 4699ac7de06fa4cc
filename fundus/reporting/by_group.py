"""Scores by groups of images, such as those of each camera, clinic or band of age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fundus.data.grouping import UNKNOWN, Grouping
from fundus.metrics.resampled import confusions, kappa_of, share_of
from fundus.reporting.bootstrap import Measure, bootstrap_of
from fundus.reporting.tables import how_resampled, percent
from fundus.runtime.shown import Shown
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.table import Table

#: Groups of fewer images are marked.
FEW_IMAGES = 30

#: The scores of a group, and what they are called.
SCORES = {
    "qwk": "quadratic weighted kappa",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


@dataclass(frozen=True, eq=False)
class Referral:
    """Who has referable disease and who is referred.

    Parameters
    ----------
    truth, referred : ndarray of bool, shape (n_images,)
    rule : str
        What decides about referral, in words.
    """

    truth: NDArray[np.bool_]
    referred: NDArray[np.bool_]
    rule: str


@dataclass(frozen=True, eq=False)
class GroupScores:
    """The scores of one group.

    Parameters
    ----------
    name : str or None
        ``None`` for the images whose group is not known.
    n_images : int
    n_patients : int or None
        ``None`` if patients are unknown.
    n_referable : int or None
        Number of images with referable disease; ``None`` without a referral.
    qwk : Measure
        Quadratic weighted kappa.
    sensitivity, specificity : Measure or None
        For referable disease.
    """

    name: str | None
    n_images: int
    n_patients: int | None
    n_referable: int | None
    qwk: Measure
    sensitivity: Measure | None
    specificity: Measure | None

    @property
    def few(self) -> bool:
        """Whether there are fewer than 30 images, too few to say much."""
        return self.n_images < FEW_IMAGES

    @property
    def measures(self) -> dict[str, Measure]:
        """Those scores that there are, by name."""
        found = {name: getattr(self, name) for name in SCORES}
        return {name: measure for name, measure in found.items() if measure is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {
            "group": self.name,
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "n_referable": self.n_referable,
            "few": self.few,
            **{name: measure.to_dict() for name, measure in self.measures.items()},
        }


@dataclass(frozen=True, eq=False, repr=False)
class GroupReport(Shown):
    """The scores of every group of a column; `group_report` makes it.

    Parameters
    ----------
    column : str
    groups : tuple of GroupScores
        In order, those of unknown value last.
    rule : str or None
        What decides about referral, in words.
    """

    column: str
    groups: tuple[GroupScores, ...]
    rule: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        return {"referral": self.rule, "groups": [group.to_dict() for group in self.groups]}

    def measures(self) -> dict[str, Measure]:
        """Return every score by its name, such as "camera Topcon: qwk"."""
        return {
            f"{self.column} {self.shown(group)}: {name}": measure
            for group in self.groups
            for name, measure in group.measures.items()
        }

    def shown(self, group: GroupScores) -> str:
        """Return the name of a group as text, which no other group has."""
        if group.name is not None:
            return group.name
        return "no value" if UNKNOWN in [other.name for other in self.groups] else UNKNOWN

    def to_table(self, title: str | None = None) -> Table:
        """Return the report for a terminal."""
        from rich.markup import escape

        few = any(group.few for group in self.groups)
        told = [
            f"* fewer than {FEW_IMAGES} images, too few to say much." * few,
            f"Intervals, 95 %, are {how_resampled(self.groups[0].n_patients)}.",
            "A group of one grade has no kappa." * any(np.isnan(g.qwk.value) for g in self.groups),
            "" if self.rule is None else f"Referral: {self.rule}.",
        ]
        table = new_table(
            escape(title or f"By {self.column}"),
            caption=" ".join(filter(None, told)),
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        table.add_column(escape(self.column))
        for name in ("images", "referable"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("QWK", "sensitivity", "specificity"):
            table.add_column(name, no_wrap=True)
        for group in self.groups:
            name = escape(self.shown(group)) + " *" * group.few
            referable = "-" if group.n_referable is None else str(group.n_referable)
            shares = [percent(group.sensitivity), percent(group.specificity)]
            table.add_row(name, str(group.n_images), referable, _kappa(group.qwk), *shares)
        return table


def _kappa(measure: Measure) -> str:
    if np.isnan(measure.value):
        return "   -"
    ends = measure.interval
    known = measure.span != "-"
    return f"{measure.value:4.2f}" + f"  {ends.low:.2f} to {ends.high:.2f}" * known


def group_report(
    true: NDArray[np.intp],
    pred: NDArray[np.intp],
    grouping: Grouping,
    *,
    n_grades: int,
    referral: Referral | None = None,
    groups: NDArray[Any] | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> GroupReport:
    """Score every group of images by itself.

    Parameters
    ----------
    true, pred : ndarray of int, shape (n_images,)
        Positions on the scale.
    grouping : Grouping
    n_grades : int
    referral : Referral, default=None
        For sensitivity and specificity.
    groups : ndarray, shape (n_images,), default=None
        Patients; without them, images are treated as independent.
    n_resamples, confidence, random_state
        As in `make_report`.

    Returns
    -------
    GroupReport
        With a last group of the images whose value is missing, if there are any. Kappa is ``nan``
        in a group of one true grade.

    Examples
    --------
    >>> grouping = Grouping("camera", ("A", "B"), np.array([0, 0, 0, 1, 1, -1]))
    >>> true = np.array([0, 1, 2, 0, 2, 1])
    >>> found = group_report(true, true, grouping, n_grades=3)
    >>> [(group.name, group.n_images, group.qwk.value) for group in found.groups]
    [('A', 3, 1.0), ('B', 2, 1.0), (None, 1, nan)]
    """

    def one(name: str | None, rows: NDArray[np.intp]) -> GroupScores:
        y, found = true[rows], pred[rows]
        columns = [y, found] + ([] if referral is None else [referral.referred[rows]])
        bootstrap = bootstrap_of(
            np.column_stack(columns).astype(float),
            None if groups is None else groups[rows],
            n_resamples=n_resamples,
            confidence=confidence,
            random_state=random_state,
        )
        several = len(np.unique(y)) > 1

        def kappa(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return kappa_of(confusions(weights, y, found, n_grades))

        value = float(kappa(np.ones((1, len(rows))))[0]) if several else np.nan
        resampled = bootstrap.scores(lambda w: {"qwk": kappa(w)})["qwk"]
        qwk = bootstrap.measure(value, resampled if several else np.empty(0))
        n_patients = None if groups is None else bootstrap.n_patients
        if referral is None:
            return GroupScores(name, len(rows), n_patients, None, qwk, None, None)
        truth, referred = referral.truth[rows], referral.referred[rows]

        def share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Measure:
            drawn = bootstrap.scores(lambda w: {"share": share_of(w, hits, among)})["share"]
            return bootstrap.proportion(hits, among, drawn)

        sensitivity, specificity = share(referred, truth), share(~referred, ~truth)
        n_referable = int(truth.sum())
        return GroupScores(name, len(rows), n_patients, n_referable, qwk, sensitivity, specificity)

    scored = [
        one(name, np.flatnonzero(grouping.codes == k))
        for k, name in enumerate(grouping.names)
        if (grouping.codes == k).any()
    ]
    unknown = np.flatnonzero(grouping.codes < 0)
    if len(unknown):
        scored.append(one(None, unknown))
    rule = None if referral is None else referral.rule
    return GroupReport(grouping.column, tuple(scored), rule)
