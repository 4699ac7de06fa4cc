"""`shortcut_report`: what the severity follows among images of one grade."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fundus.data.grouping import column_of, group_images, is_measurement
from fundus.data.inputs import as_images, is_image_data
from fundus.data.tables import normal_name
from fundus.exceptions import DataError, DataWarning, warn_caller
from fundus.frozen.photographs import MEASURES, measure_photographs
from fundus.grades.icdr import N_GRADES
from fundus.grades.labels import grade_scale, to_positions
from fundus.grades.patients import patients_of
from fundus.metrics.rank_correlation import Within
from fundus.reporting.bootstrap import FEW, Bootstrap, Measure, bootstrap_of
from fundus.reporting.shortcut_views import plot_shortcuts, shortcut_table
from fundus.runtime.shown import Shown
from fundus.store import open_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

#: A correlation is strong from here on ...
STRONG = 0.3
#: ... where its interval leaves this distance from 0, too.
WEAK = 0.15

#: Columns that are looked at where they are not named, in lower case with single spaces.
_RECOGNISED = (
    *("site", "camera", "clinic", "centre", "center", "hospital", "device"),
    *("camera model", "device model", "site id", "camera id"),
)


@dataclass(frozen=True, eq=False)
class Shortcut:
    """How the severity follows one thing within the grades.

    Parameters
    ----------
    name : str
    kind : {"rank correlation", "eta squared"}
        Spearman's correlation with a number, or the share of the ranks' variance that categories
        explain.
    pooled : Measure
        Over all grades.
    by_grade : tuple of Measure
        Within each grade; ``nan`` for fewer than three images, or where nothing varies.
    n_images : int
        Number of images where it is known.
    strong : bool
        Whether it is far from 0: at least 0.3, and its interval beyond 0.15; of the share of the
        variance the squares of these, 0.09 and 0.0225. A perfect one, which has no interval, is
        strong from ten patients on.
    """

    name: str
    kind: str
    pooled: Measure
    by_grade: tuple[Measure, ...]
    n_images: int
    strong: bool

    @property
    def strong_from(self) -> float:
        """The value from which it is strong, if its interval is far from 0 too."""
        return STRONG**2 if self.kind == "eta squared" else STRONG

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``nan`` becomes ``None``."""
        return {
            "kind": self.kind,
            "n_images": self.n_images,
            "pooled": self.pooled.to_dict(),
            "by_grade": [measure.to_dict() for measure in self.by_grade],
            "strong": self.strong,
        }


@dataclass(frozen=True, eq=False, repr=False)
class ShortcutReport(Shown):
    """What the severity follows among images of one grade; `shortcut_report` makes it.

    Parameters
    ----------
    shortcuts : tuple of Shortcut
    n_images : int
    n_patients : int or None
        ``None`` if patients are unknown.
    n_by_grade : tuple of int
        Images of each grade.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(2, 60))
    >>> found = shortcut_report(noise[0], np.arange(60) % 3, measures={"light": noise[1]})
    >>> found.n_by_grade, found.strong, list(found.to_dict()["shortcuts"])
    ((20, 20, 20, 0, 0), (), ['light'])
    """

    shortcuts: tuple[Shortcut, ...]
    n_images: int
    n_patients: int | None
    n_by_grade: tuple[int, ...]

    @property
    def strong(self) -> tuple[str, ...]:
        """Names of what the severity follows strongly."""
        return tuple(found.name for found in self.shortcuts if found.strong)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "n_by_grade": list(self.n_by_grade),
            "strong": list(self.strong),
            "shortcuts": {found.name: found.to_dict() for found in self.shortcuts},
        }

    def measures(self) -> dict[str, Measure]:
        """Return every pooled value by its name, such as "shortcut brightness"."""
        return {f"shortcut {found.name}": found.pooled for found in self.shortcuts}

    def to_table(self) -> Table:
        """Return the report for a terminal."""
        return shortcut_table(self)

    def plot(self) -> Figure:
        """Draw each pooled value with its interval, and the values within the grades."""
        return plot_shortcuts(self)


def shortcut_report(
    severity: ArrayLike,
    y: ArrayLike,
    X: Any = None,
    *,
    measures: pd.DataFrame | Mapping[str, ArrayLike] | None = None,
    columns: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    n_grades: int = N_GRADES,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
    cache: Any = True,
    n_jobs: int | None = None,
) -> ShortcutReport:
    """Tell whether the severity of images of one grade follows camera, light or file.

    Among photographs of one true grade, a severity should not depend on how they were taken. Where
    it does, the model may have learned the photograph instead of the retina, and its grades will
    change with another camera.

    Parameters
    ----------
    severity : array-like of float, shape (n_samples,)
        Out of fold, or of images that no model has seen.
    y : array-like of int, shape (n_samples,)
        True grades in ``range(n_grades)``.
    X : images or DataFrame, default=None
        Images as `TransferClassifier` takes them, of a frame those in its column ``path``: each is
        decoded once, and its measures are kept in the store. They are ``fov_share``, the area of
        the field of view as a share of the square around it; ``brightness`` and ``sharpness``
        inside it; ``jpeg_quality``, from the quantisation tables of the file; and ``pixels``, its
        height times width.
    measures : DataFrame or mapping of str to array-like, default=None
        Measures of your own beside those, or instead of them: numbers, or categories as text.
    columns : sequence of str, default=None
        Columns of the frame `X`, such as a camera; by default those called site, camera, clinic,
        centre, hospital or device. Text, and at most ten different numbers, are categories.
    groups : array-like, shape (n_samples,), default=None
        Patients; by default those of the frame. Without them, images are treated as independent.
    n_grades : int, default=5
        Length of the scale.
    n_resamples : int, default=2000
        Bootstrap resamples of patients.
    confidence : float, default=0.95
        Coverage of the intervals, in (0, 1).
    random_state : int, default=0
        Seed of the resamples.
    cache : bool, path or Cache, default=True
        Store of the measures.
    n_jobs : int, default=None
        Number of threads that decode.

    Returns
    -------
    ShortcutReport

    Raises
    ------
    DataError
        If there is nothing to look at, lengths differ, a severity is not finite, or a column does
        not exist.
    ImageReadError
        If a photograph cannot be read.

    Warns
    -----
    DataWarning
        Where the severity follows something strongly; or a column that was not named has no value,
        or too many different ones, and is left out.

    Notes
    -----
    Of numbers, Spearman's rank correlation is taken within each grade; grades are pooled with
    weights n - 1 [1]_. Of categories, it is eta squared of the ranks, from the statistic of
    Kruskal and Wallis, (H - k + 1) / (n - k) [2]_; a resample's is too large by chance, so its
    interval is moved by the mean of that error. Eta squared compares with the square of a
    correlation.

    Cost: O(n_resamples · n_samples) for each measure, after one decode of each photograph.

    References
    ----------
    .. [1] J. M. G. Taylor, "Kendall's and Spearman's correlation coefficients in the presence of a
       blocking variable", Biometrics 43(2), 1987. :doi:`10.2307/2531822`
    .. [2] M. Tomczak and E. Tomczak, "The need to report effect size estimates revisited", Trends
       in Sport Sciences 21(1), 2014.

    Examples
    --------
    >>> import warnings
    >>> rng = np.random.default_rng(0)
    >>> y, light = rng.integers(0, 5, 200), rng.normal(size=200)
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     found = shortcut_report(y + light, y, measures={"light": light})
    >>> round(found.shortcuts[0].pooled.value, 3), found.strong, len(told)
    (1.0, ('light',), 1)
    """
    true = to_positions(y, grade_scale(n_grades), name="y")
    score = np.asarray(severity, dtype=np.float64)
    if score.shape != (len(true),) or not len(true) or not np.isfinite(score).all():
        raise DataError(
            "A shortcut report needs at least one image, with a grade and a finite severity for "
            f"each. Got {len(true)} grades, and severities of shape {score.shape}, of which "
            f"{int((~np.isfinite(score)).sum())} are not finite."
        )
    looked_at = _from_images(X, columns, cache, n_jobs) | _from_measures(measures)
    if not looked_at:
        raise DataError(
            "A shortcut report needs images, columns or measures to look at. Got none: give X, "
            "columns= or measures=."
        )
    for name, (values, _) in looked_at.items():
        if values.shape != (len(true),):
            raise DataError(
                f"The measure {name!r} must have one value for each of {len(true)} images. Got "
                f"shape {values.shape}."
            )
    who = patients_of(X, groups, len(true))
    known = [np.where(np.isfinite(values), values, -np.inf) for values, _ in looked_at.values()]
    bootstrap = bootstrap_of(
        np.column_stack([true, score, *known]).astype(float),
        who,
        n_resamples=n_resamples,
        confidence=confidence,
        random_state=random_state,
    )
    within = Within(score, true, n_grades)
    report = ShortcutReport(
        tuple(_shortcut(name, *of, within, bootstrap) for name, of in looked_at.items()),
        len(true),
        None if who is None else bootstrap.n_patients,
        tuple(np.bincount(true, minlength=n_grades).tolist()),
    )
    if report.strong:
        told = [f"{s.name} ({s.kind} {s.pooled})" for s in report.shortcuts if s.strong]
        warn_caller(
            f"Among images of one grade, the severity follows {', '.join(told)}: the model may "
            "grade how a photograph was taken, and change with another camera.",
            DataWarning,
        )
    return report


#: What is looked at: numbers, or codes of categories (-1 for unknown), and which of the two.
_LookedAt = dict[str, tuple[NDArray[Any], bool]]


def _from_images(
    X: Any, columns: Sequence[str] | None, cache: Any, n_jobs: int | None
) -> _LookedAt:
    found: _LookedAt = {}
    # a frame of one column of text is one of sites or cameras here
    framed = isinstance(X, pd.DataFrame)
    if X is not None and ("path" in X.columns if framed else is_image_data(X)):
        table = measure_photographs(as_images(X), open_store(cache), n_jobs=n_jobs)
        found = {name: (table[name].to_numpy(), False) for name in MEASURES}
    if columns is not None:
        return found | {str(name): _of_column(X, name) for name in columns}
    for name in X.columns if framed else ():
        if normal_name(name) in _RECOGNISED and X[name].notna().any():
            try:
                found[str(name)] = _of_column(X, name)
            except DataError as error:  # nobody has asked for it
                warn_caller(f"{error} It is left out of the shortcut report.", DataWarning)
    return found


def _of_column(X: Any, name: str) -> tuple[NDArray[Any], bool]:
    values = column_of(X, name, role="columns")
    if is_measurement(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(numbers), numbers, np.nan), False
    return group_images(X, name, role="columns").codes, True


def _from_measures(measures: pd.DataFrame | Mapping[str, ArrayLike] | None) -> _LookedAt:
    found: _LookedAt = {}
    for name, given in {} if measures is None else measures.items():
        values = pd.Series(np.asarray(given).ravel())
        if pd.api.types.is_numeric_dtype(values):
            numbers = values.to_numpy(dtype=np.float64)
            found[str(name)] = np.where(np.isfinite(numbers), numbers, np.nan), False
        else:
            frame = pd.DataFrame({name: values})
            found[str(name)] = group_images(frame, str(name), role="measures").codes, True
    return found


def _shortcut(
    name: str, values: NDArray[Any], categories: bool, within: Within, bootstrap: Bootstrap
) -> Shortcut:
    statistic = within.explained if categories else within.correlation
    pooled, each = statistic(np.ones((1, len(values))), values)

    def scores(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        of_all, of_each = statistic(weights, values)
        return {"pooled": of_all, "each": of_each}

    resampled = bootstrap.scores(scores)

    def measure(value: float, drawn: NDArray[np.float64]) -> Measure:
        if math.isnan(value):
            drawn = np.empty(0)
        elif categories and np.isfinite(drawn).any():
            drawn = drawn - np.nanmean(drawn) + value
        return bootstrap.measure(value, drawn)

    found = measure(float(pooled[0]), resampled["pooled"])
    strong, weak = (STRONG**2, WEAK**2) if categories else (STRONG, WEAK)
    interval = found.interval
    beyond = interval.low > weak or interval.high < -weak
    # resamples that are all alike have no interval: a perfect correlation, such as of a copy
    alike = np.isfinite(resampled["pooled"]).all() and np.ptp(resampled["pooled"]) < 1e-9
    return Shortcut(
        name,
        "eta squared" if categories else "rank correlation",
        found,
        tuple(
            measure(float(value), drawn)
            for value, drawn in zip(each[0], resampled["each"].T, strict=True)
        ),
        int((values >= 0).sum() if categories else np.isfinite(values).sum()),
        bool(abs(found.value) >= strong and (beyond or (alike and bootstrap.n_patients >= FEW))),
    )
