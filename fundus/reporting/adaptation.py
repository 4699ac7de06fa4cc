"""`adapt`: a fitted model's cutpoints and operating points, from a site's own photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fundus.exceptions import DataWarning, warn_caller
from fundus.grades.cutpoints import check_cost, check_distribution
from fundus.grades.foreign import unwrapped
from fundus.grades.icdr import N_GRADES, REFERABLE_GRADE, grade_labels, is_referable
from fundus.grades.labels import to_positions
from fundus.grades.patients import read_patients
from fundus.meta.out_of_fold import cache_of
from fundus.meta.recut import cuttable, distribution_of, recut
from fundus.metrics.operating_points import OperatingPoint
from fundus.model_selection.leaks import Folds
from fundus.parameters import Settings, check_int, check_option, check_real, refused
from fundus.reporting.adapted import Adaptation, Change, Referrals, measure_changes
from fundus.reporting.cross_fitting import (
    ENOUGH,
    check_amounts,
    count_patients,
    crossed_grades,
    crossed_referrals,
    patient_folds,
)
from fundus.reporting.graded import Graded, read_graded, warn_of_oedema
from fundus.reporting.predictions import names_of_grades, points_of
from fundus.reporting.screening import CONDITIONS, REFERABLE, choose_points

#: Goal of an operating point where neither the caller nor the model names one.
_GOAL = 0.9


@dataclass(frozen=True, kw_only=True)
class _Options(Settings):
    """The parameters of `adapt`."""

    cv: Any
    distribution: Any
    n_bootstraps: Any
    sensitivity: Any
    specificity: Any
    min_patients: Any
    missing_grades: Any

    def check(self) -> None:
        """Raise for a parameter that cannot be used, before any work."""
        check_int(self, "cv", low=2)
        if self.distribution is not None:
            check_distribution(self, self.distribution)
        check_int(self, "n_bootstraps", low=0)
        check_int(self, "min_patients", low=2)
        check_option(self, "missing_grades", ("raise", "never"))
        for name in ("sensitivity", "specificity"):
            check_real(self, name, low=0, high=1, low_open=True, also=(None,))


def adapt(
    model: Any,
    data: Any,
    *,
    groups: ArrayLike | None = None,
    cv: int = 5,
    scoring: Any = "qwk",
    distribution: str | None = None,
    n_bootstraps: int = 100,
    sensitivity: float | None = None,
    specificity: float | None = None,
    min_patients: int = 20,
    missing_grades: str = "raise",
    random_state: Any = 0,
) -> Adaptation:
    """Fit a model's cutpoints and operating points anew, on a site's own graded photographs.

    Networks and heads stay as they are, and so does the model that is given. Another camera shifts
    severities, so that cutpoints chosen elsewhere no longer suit; this mends that, and not a worse
    order of the photographs. The scores "after" are honest: each patient's photographs are cut by
    thresholds that the other patients have set. The result may be worse than before; that is told,
    and which model to use is yours to decide.

    Parameters
    ----------
    model : classifier
        Fitted, such as from `fundus.load`; one without cutpoints gets some, if it has
        probabilities or a severity.
    data : Bunch or tuple of (X, y)
        Result of `load_image_folder` or `load_image_table`; or images and their labels. None of
        the images may be one that the model was trained on. A frame's columns ``patient`` and
        ``dme`` are used, as in a Bunch. Images without a grade, or set aside, are not used.
    groups : array-like, shape (n_samples,), default=None
        Patients of ``(X, y)``; by default those of the frame.
    cv : int, default=5
        Folds of patients for the scores.
    scoring : "qwk" or array-like of float, shape (n_grades, n_grades), default="qwk"
        What cutpoints are best for, as in `optimal_cutpoints`.
    distribution : {"empirical", "normal"}, default=None
        As in `optimal_cutpoints`; ``None`` is that of the model's own cutpoints, else "empirical".
    n_bootstraps : int, default=100
        Take the median of the cutpoints of so many resamples of the patients, which is steadier
        for few of them; 0 takes the best cutpoints. As in `TunedCutpointClassifierCV`.
    sensitivity, specificity : float, default=None
        Goals of the operating points; ``None`` takes those of the model's own, else 0.9.
    min_patients : int, default=20
        Fewer are refused; where patients are unknown, images count.
    missing_grades : {"raise", "never"}, default="raise"
        Whether a grade without a photograph is an error, or is never predicted from then on.
    random_state : int, RandomState or None, default=0
        Shuffles the folds, and seeds resamples and the choice of one image of each patient.

    Returns
    -------
    Adaptation
        With the adapted ``model``, and the scores before and after.

    Raises
    ------
    DataError
        If there are too few patients, or a grade is missing or held by one patient; the message
        says how many are needed. If the scale is not as long as the model's.
    InvalidGradeError
        If a label is missing or not on the model's scale.
    InvalidParameterError
        If the model gives no severity, or a parameter cannot be used.
    SplitError
        If one image stands in the data twice, as two patients'.

    Warns
    -----
    DataWarning
        If kappa is lower after adapting, or macular oedema counted when the model's operating
        points were chosen and not here, or the other way round.

    See Also
    --------
    PrevalenceCutpointClassifier : Cutpoints for a site without graded photographs.
    TunedCutpointClassifierCV : The cutpoints.

    Notes
    -----
    A rule for sets of grades is made again from these photographs, as what it promises is about
    images like those it was made from. Cost: one prediction of every image, and
    ``(cv + 1) * (1 + n_bootstraps)`` fits of cutpoints, of about a millisecond each.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 1))
    >>> y = np.digitize(X[:, 0], [-0.5, 0.5])
    >>> model = LogisticRegression().fit(X[:200], y[:200])
    >>> site = adapt(model, (X[200:] + 1.0, y[200:]))  # another camera
    >>> kappa = site.changes["qwk"]
    >>> kappa.before.value < 0.7, kappa.after.value > 0.9, site.n_images
    (True, True, 200)
    >>> site.model.predict([[0.4], [1.6]]).tolist()
    [0, 2]
    """
    options = _Options(
        owner="adapt",
        cv=cv,
        distribution=distribution,
        n_bootstraps=n_bootstraps,
        sensitivity=sensitivity,
        specificity=specificity,
        min_patients=min_patients,
        missing_grades=missing_grades,
    )
    options.check()
    check_is_fitted(unwrapped(model))
    target = cuttable(model)
    scale = target.grades_
    if not (isinstance(scoring, str) and scoring == "qwk"):
        check_cost(scoring, len(scale))
    graded = _with_groups(read_graded(data, scale), data, groups)
    y, who = graded.y, graded.who
    names = names_of_grades(model, graded.class_names)
    check_amounts(
        y,
        who,
        grade_labels(names),
        to_positions(target.classes_, scale),
        min_patients=min_patients,
        may_be_missing=missing_grades == "never",
    )
    truth = is_referable(y, graded.dme) if len(scale) == N_GRADES else None
    if truth is not None:
        warn_of_oedema(model, with_dme=graded.dme is not None)
    readers = target.readers()
    cache = cache_of(readers[0].model) if readers else cache_of(unwrapped(model))
    folds = patient_folds(graded.X, y, who, int(cv), cache=cache, random_state=random_state)
    reading = target.read_images(graded.X)
    votes = target.votes_of(reading)
    labels = target.labels_of(reading) if votes.best is None else target.classes_[votes.best]
    before = to_positions(labels, scale)
    severity = np.asarray(votes.severity, dtype=np.float64)
    how = {
        "scoring": scoring,
        "distribution": distribution_of(model) if distribution is None else distribution,
        "n_bootstraps": n_bootstraps,
        "random_state": random_state,
    }
    adapted = recut(model, severity, scale[y], who, **how)
    after = crossed_grades(severity, y, who, folds, len(scale), **how)
    referrals: dict[str, Referrals] = {}
    notes: list[str] = []
    if truth is not None:
        adapted.operating_points_, notes = _chosen(severity, y, graded.dme, model, options)
        adapted.referable_with_dme_ = graded.dme is not None
        referrals, more = _referred(severity, truth, before, after, folds, model, options)
        notes += more
    adapted.class_names_ = list(names)
    changes = measure_changes(
        y,
        before,
        after,
        len(scale),
        positive=truth,
        referrals=referrals,
        patients=graded.patients,
    )
    n_patients = None if graded.patients is None else count_patients(who, np.arange(len(y)))
    if (n := n_patients or len(y)) < ENOUGH:
        whom = "photographs" if n_patients is None else "patients"
        notes.append(f"{n} {whom} are few: see whether the scores rise before trusting them.")
    fold = np.full(len(y), -1)
    for k, (_, test) in enumerate(folds):
        fold[test] = k
    columns = {"file_name": graded.names, "target": y, "prediction": after, "fold": fold}
    frame = pd.DataFrame(columns | {"severity": severity, "before": before})
    cutpoints = cuttable(adapted).cutpoints_  # type: ignore[attr-defined]
    found = Adaptation(
        adapted,
        changes,
        (votes.cutpoints, cutpoints),
        tuple(names),
        len(y),
        n_patients,
        len(folds),
        tuple(notes),
        frame,
    )
    _warn_if_worse(changes["qwk"])
    return found


def _with_groups(graded: Graded, data: Any, groups: ArrayLike | None) -> Graded:
    """Put in the patients that were given beside ``(X, y)``."""
    if groups is None:
        return graded
    if not isinstance(data, tuple):
        must = "must be left out for a Bunch, which has its own patients."
        raise refused("adapt", "groups", must)
    known = read_patients(groups, len(graded.y))
    return Graded(**{**vars(graded), "patients": known, "who": known})


def _goals(model: Any, options: _Options) -> dict[str, float]:
    """Return the goal of each kind of operating point."""
    own = {point.wanted: point.goal for point in points_of(model).get(REFERABLE, [])}
    given = {"sensitivity": options.sensitivity, "specificity": options.specificity}
    return {w: own.get(w, _GOAL) if goal is None else float(goal) for w, goal in given.items()}


def _chosen(
    severity: NDArray[np.float64],
    y: NDArray[np.intp],
    dme: NDArray[np.float64] | None,
    model: Any,
    options: _Options,
) -> tuple[dict[str, list[OperatingPoint]], list[str]]:
    """Choose the operating points on all images, by condition, and say which cannot be."""
    points, notes = {}, []
    for name, rule in CONDITIONS.items():
        points[name], why = choose_points(severity, rule(y, dme), **_goals(model, options))
        notes += [f"{name}: {text}" for text in why]
    return points, notes


def _referred(
    severity: NDArray[np.float64],
    truth: NDArray[np.bool_],
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    folds: Folds,
    model: Any,
    options: _Options,
) -> tuple[dict[str, Referrals], list[str]]:
    """Return who is referred before and after, by each rule, and why a rule is not there."""
    referrals: dict[str, Referrals] = {
        "referable by grade": (before >= REFERABLE_GRADE, after >= REFERABLE_GRADE)
    }
    old, notes = points_of(model).get(REFERABLE, []), []
    for wanted, goal in _goals(model, options).items():
        own = [severity >= point.threshold for point in old if point.wanted == wanted]
        new, note = crossed_referrals(severity, truth, folds, wanted, goal)
        referrals[f"referable at {wanted} {goal:g}"] = (own[0] if own else None, new)
        notes += [note] * bool(note)
    return referrals, notes


def _warn_if_worse(kappa: Change) -> None:
    assert kappa.before is not None
    assert kappa.after is not None
    if kappa.after.value < kappa.before.value:
        warn_caller(
            f"Adapting LOWERS kappa on this site's photographs, from {kappa.before.value:.3f} to "
            f"{kappa.after.value:.3f}, cross-fitted; the change is {kappa.difference}. The adapted "
            "model is made all the same: which of the two to use is yours to decide.",
            DataWarning,
        )
