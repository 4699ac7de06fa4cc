"""What adapting a model to a site changes: the scores before and after, and the new model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fundus.metrics.resampled import confusions, kappa_of, share_of
from fundus.reporting.bootstrap import Measure, bootstrap_of
from fundus.reporting.predictions import points_of
from fundus.reporting.tables import adaptation_table
from fundus.runtime.shown import Shown

#: Positions of a photograph's referral, before and after; ``None`` where a rule is not there.
Referrals = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]

_WHEN = ("before", "after")


@dataclass(frozen=True)
class Change:
    """A score before and after adapting, on the same photographs.

    Parameters
    ----------
    before : Measure or None
        Of the model as it was; ``None`` if it had no such operating point.
    after : Measure or None
        Of cutpoints and operating points that other patients have set; ``None`` if some folds
        have no such operating point.
    difference : Measure or None
        ``after - before``, on the same resamples.
    """

    before: Measure | None
    after: Measure | None
    difference: Measure | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {name: part and part.to_dict() for name, part in vars(self).items()}


@dataclass(frozen=True, eq=False, repr=False)
class Adaptation(Shown):
    """A model that was adapted to a site, and what that changes; `adapt` makes it.

    Parameters
    ----------
    model : classifier
        Fitted: the same networks and heads, with the cutpoints and operating points of the site.
    changes : dict of str to Change
        By name: "qwk"; on the scale of five grades also "referable by grade: sensitivity",
        "referable by grade: specificity", and the same "referable at …" for each operating point.
    cutpoints : tuple of two ndarrays of float, shape (n_grades - 1,)
        Before and after; the first is ``None`` for a model without cutpoints.
    class_names : tuple of str
        Names of the grades, lowest first.
    n_images : int
    n_patients : int or None
        ``None`` if patients are unknown.
    n_folds : int
        Of the scores after adapting.
    notes : tuple of str
        Operating points that could not be chosen, and the like.
    frame : DataFrame
        A row per image; see `to_frame`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from fundus import adapt
    >>> X, y = np.linspace(0, 3, 60).reshape(-1, 1), np.repeat([0, 1, 2], 20)
    >>> site = adapt(LogisticRegression().fit(X, y), (X + 1, y))  # another camera
    >>> list(site.changes), site.n_images, site.n_patients
    (['qwk'], 60, None)
    >>> bool((site.model.predict(X + 1) == y).mean() > 0.9)
    True
    >>> print(str(site).splitlines()[0])
    Adapted on 60 images
    """

    model: Any
    changes: dict[str, Change]
    cutpoints: tuple[NDArray[np.float64] | None, NDArray[np.float64]]
    class_names: tuple[str, ...]
    n_images: int
    n_patients: int | None
    n_folds: int
    notes: tuple[str, ...]
    frame: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``, and infinite cutpoints text."""
        before, after = (None if c is None else [_json(x) for x in c] for c in self.cutpoints)
        points = points_of(self.model)
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "n_folds": self.n_folds,
            "class_names": list(self.class_names),
            "changes": {name: change.to_dict() for name, change in self.changes.items()},
            "cutpoints": {"before": before, "after": after},
            "operating_points": {name: [p.to_dict() for p in own] for name, own in points.items()},
            "notes": list(self.notes),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a row per image, graded by cutpoints that other patients have set.

        Returns
        -------
        DataFrame
            Columns ``file_name``, ``target``, ``prediction``, ``fold``, ``severity`` and
            ``before``, the grade by the model as it was; grades are positions on the scale.
        """
        return self.frame.copy()

    def scores(self) -> pd.DataFrame:
        """Return a row for each score, of before, of after and of the difference."""
        rows = [
            {"of": of, "score": name, **measure.to_dict()}
            for of in ("before", "after", "difference")
            for name, change in self.changes.items()
            if (measure := getattr(change, of)) is not None
        ]
        return pd.DataFrame(rows)

    def to_table(self) -> Any:
        """Return scores and cutpoints for a terminal."""
        return adaptation_table(self)


def _json(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(float(value))


def measure_changes(
    y: NDArray[np.intp],
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    n_grades: int,
    *,
    positive: NDArray[np.bool_] | None,
    referrals: dict[str, Referrals],
    patients: NDArray[Any] | None,
) -> dict[str, Change]:
    """Score what was predicted before and after, on the same resamples of patients.

    Parameters
    ----------
    y, before, after : ndarray of int, shape (n_images,)
        Positions on the scale.
    n_grades : int
    positive : ndarray of bool, shape (n_images,), or None
        Who is to be referred; ``None`` leaves out sensitivity and specificity.
    referrals : dict of str to tuple of two arrays of bool or None
        Who is referred before and after, by the name of the rule.
    patients : ndarray, shape (n_images,), or None

    Returns
    -------
    dict of str to Change
    """
    given = [part for pair in referrals.values() for part in pair if part is not None]
    truth = [] if positive is None else [positive]
    content = np.column_stack([y, before, after, *truth, *given]).astype(np.float64)
    bootstrap = bootstrap_of(content, patients)
    names = ["qwk"]
    shares: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}
    for rule, pair in ({} if positive is None else referrals).items():
        for of in ("sensitivity", "specificity"):
            names.append(f"{rule}: {of}")
            for when, part in zip(_WHEN, pair, strict=True):
                if part is not None and positive is not None:
                    rows = (part, positive) if of == "sensitivity" else (~part, ~positive)
                    shares[f"{when} {rule}: {of}"] = rows
    grades = dict(zip(_WHEN, (before, after), strict=True))

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        kappas = {
            f"{when} qwk": kappa_of(confusions(weights, y, graded, n_grades))
            for when, graded in grades.items()
        }
        return kappas | {key: share_of(weights, *rows) for key, rows in shares.items()}

    values, drawn = statistic(np.ones((1, len(y)))), bootstrap.scores(statistic)
    measures = {
        key: bootstrap.proportion(*shares[key], drawn[key])
        if key in shares
        else bootstrap.measure(float(values[key][0]), drawn[key])
        for key in drawn
    }
    changes = {}
    for name in names:
        was, now = (measures.get(f"{when} {name}") for when in _WHEN)
        difference = None
        if was is not None and now is not None:
            gains = drawn[f"after {name}"] - drawn[f"before {name}"]
            difference = bootstrap.measure(now.value - was.value, gains)
        changes[name] = Change(was, now, difference)
    return changes
