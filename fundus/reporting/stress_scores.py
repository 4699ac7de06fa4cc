"""Scores of changed photographs beside those of the unchanged ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.metrics.resampled import confusions, kappa_of, mean_of, ratio
from fundus.reporting.bootstrap import bootstrap_of
from fundus.reporting.stressed import Change, StressReport, StressScore


class Predicted(NamedTuple):
    """Predictions for n photographs.

    Parameters
    ----------
    grades : ndarray of int, shape (n,)
        Positions on the scale.
    severity : ndarray of float, shape (n,), or None
        In positions on the scale; ``None`` if the model has none.
    """

    grades: NDArray[np.intp]
    severity: NDArray[np.float64] | None


def score_stress(
    true: NDArray[np.intp],
    unchanged: Predicted,
    changed: Mapping[Change, Predicted],
    *,
    n_grades: int,
    referable: int | None,
    groups: ArrayLike | None,
    n_resamples: int,
    random_state: int,
    out_of_fold: bool,
) -> StressReport:
    """Score predictions of changed photographs, all on the same resamples of patients.

    `true` are positions on the scale, shape (n_images,), as are all predictions.

    Raises
    ------
    DataError
        If there is no image, or `groups` has another length or lacks a patient.
    InvalidParameterError
        If `n_resamples` is below 1.
    """
    columns: list[NDArray[Any]] = [true, unchanged.grades]
    if unchanged.severity is not None:
        columns.append(unchanged.severity)
    bootstrap = bootstrap_of(
        np.column_stack(columns).astype(float),
        groups,
        n_resamples=n_resamples,
        random_state=random_state,
    )
    every = {("unchanged", 0): unchanged, **changed}
    strengths = sorted({strength for _, strength in changed})
    kinds = list(dict.fromkeys(kind for kind, _ in changed))

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        scores: dict[str, NDArray[np.float64]] = {}
        for change, found in every.items():
            drawn = confusions(weights, true, found.grades, n_grades)
            own = {"qwk": kappa_of(drawn)}
            if referable is not None:
                high, low = drawn[:, referable:], drawn[:, :referable]
                own["sensitivity"] = ratio(
                    high[:, :, referable:].sum(axis=(1, 2)), high.sum(axis=(1, 2))
                )
                own["specificity"] = ratio(
                    low[:, :, :referable].sum(axis=(1, 2)), low.sum(axis=(1, 2))
                )
            if change in changed:
                own["qwk_change"] = own["qwk"] - scores[_name(("unchanged", 0), "qwk")]
                if found.severity is not None and unchanged.severity is not None:
                    moved = found.severity - unchanged.severity
                    own["severity_change"] = mean_of(weights, moved)
                    own["severity_change_rms"] = np.sqrt(mean_of(weights, moved**2))
                other = (found.grades != unchanged.grades).astype(float)
                own["grades_changed"] = mean_of(weights, other)
            scores |= {_name(change, name): values for name, values in own.items()}
        for strength in strengths:
            for name in ("qwk", "qwk_change"):
                parts = [scores[_name((kind, strength), name)] for kind in kinds]
                scores[_name(("mean", strength), name)] = np.mean(parts, axis=0)
        return scores

    values = statistic(np.ones((1, len(true))))
    drawn = bootstrap.scores(statistic)
    positive = np.zeros(len(true), bool) if referable is None else true >= referable

    def score(change: Change) -> StressScore:
        measures = {}
        for name in _NAMES:
            key = _name(change, name)
            if key in values:
                shares = _shares(name, every.get(change), unchanged, referable, positive)
                measures[name] = (
                    bootstrap.measure(float(values[key][0]), drawn[key])
                    if shares is None
                    else bootstrap.proportion(*shares, drawn[key])
                )
        return StressScore(*change, measures)

    report = StressReport(
        score(("unchanged", 0)),
        tuple(score(change) for change in changed),
        {strength: score(("mean", strength)) for strength in strengths},
        len(true),
        bootstrap.n_patients if groups is not None else None,
        referable,
        out_of_fold,
        _notes(true, unchanged, positive, referable),
    )
    return report


#: Names of the scores of one change, in the order of tables.
_NAMES = (
    "qwk",
    "qwk_change",
    "sensitivity",
    "specificity",
    "severity_change",
    "severity_change_rms",
    "grades_changed",
)


def _name(change: Change, name: str) -> str:
    return f"{change[0]} {change[1]} {name}"


def _shares(
    name: str,
    found: Predicted | None,
    unchanged: Predicted,
    referable: int | None,
    positive: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Hits, and the photographs that count, of a score that is a share; ``None`` of others."""
    if found is None or name not in ("sensitivity", "specificity", "grades_changed"):
        return None
    if name == "grades_changed":
        return found.grades != unchanged.grades, np.ones(len(positive), bool)
    assert referable is not None
    referred = found.grades >= referable
    return (referred, positive) if name == "sensitivity" else (~referred, ~positive)


def _notes(
    true: NDArray[np.intp],
    unchanged: Predicted,
    positive: NDArray[np.bool_],
    referable: int | None,
) -> tuple[str, ...]:
    notes = []
    if len(np.unique(true)) == 1:
        notes.append(
            "all photographs have one grade: kappa is 0 or undefined, and says nothing of agreement"
        )
    if referable is not None and not positive.any():
        notes.append("no sensitivity: no photograph is referable")
    if referable is not None and positive.all():
        notes.append("no specificity: all photographs are referable")
    if unchanged.severity is None:
        notes.append("the model has no severity, so how far severities move is not known")
    return tuple(notes)
