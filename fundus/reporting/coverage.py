"""Reports how often sets of grades hold the true one, and how many images go to a human."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fundus.exceptions import DataError
from fundus.grades.icdr import N_GRADES, REFERABLE_GRADE
from fundus.grades.labels import grade_scale, to_positions
from fundus.metrics.resampled import mean_of, share_of
from fundus.parameters import renamed_parameter
from fundus.reporting.bootstrap import Measure, bootstrap_of
from fundus.reporting.tables import coverage_table
from fundus.runtime.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class CoverageReport(Shown):
    """Scores of sets of grades on some images.

    Parameters
    ----------
    coverage : Measure
        Share of images whose set holds the true grade.
    by_grade : tuple of Measure
        The same for the images of every true grade.
    size : Measure
        Mean number of grades in a set.
    deferred : Measure
        Share of images whose set has more than one grade.
    undecided : Measure or None
        Share of images whose set does not decide whether the grade is referable; on the ICDR
        scale only.
    n_images : int
    n_patients : int or None
    """

    coverage: Measure
    by_grade: tuple[Measure, ...]
    size: Measure
    deferred: Measure
    undecided: Measure | None
    n_images: int
    n_patients: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; ``nan`` becomes ``None``."""
        return {
            "n_images": self.n_images,
            "n_patients": self.n_patients,
            "coverage": self.coverage.to_dict(),
            "coverage_by_grade": [measure.to_dict() for measure in self.by_grade],
            "size": self.size.to_dict(),
            "deferred": self.deferred.to_dict(),
            "undecided": None if self.undecided is None else self.undecided.to_dict(),
        }

    def to_table(self) -> Any:
        """Return the report for a terminal, a rich table."""
        return coverage_table(self)


@renamed_parameter("patients", "groups")
def coverage_report(
    y_true: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    n_grades: int = N_GRADES,
    groups: ArrayLike | None = None,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    random_state: int = 0,
) -> CoverageReport:
    """Score sets of grades on images that were not used for training or calibration.

    Parameters
    ----------
    y_true : array-like of int, shape (n_samples,)
        Grades in ``range(n_grades)``.
    low, high : array-like of int, shape (n_samples,)
        Ends of the sets, as from ``OrdinalConformalClassifier.predict_set``.
    n_grades : int, default=5
        Length of the scale.
    groups : array-like, shape (n_samples,), default=None
        Patients; without them, images are treated as independent.
    n_resamples : int, default=2000
        Bootstrap resamples of patients.
    confidence : float, default=0.95
        Coverage of the intervals, in (0, 1).
    random_state : int, default=0
        Seed of the resamples.

    Returns
    -------
    CoverageReport

    Raises
    ------
    DataError
        If there is no image, lengths differ, or a set ends below its start.
    InvalidGradeError
        If a grade lies outside the scale.

    Notes
    -----
    Cost: O(n_resamples · n_samples · n_grades).

    Examples
    --------
    >>> report = coverage_report([0, 1, 2, 4], [0, 1, 1, 2], [0, 2, 3, 3])
    >>> report.coverage.value, report.size.value, report.deferred.value
    (0.75, 2.0, 0.75)
    """
    scale = grade_scale(n_grades)
    true = to_positions(y_true, scale, name="y_true")
    ends = [to_positions(e, scale, name=n) for e, n in ((low, "low"), (high, "high"))]
    if not len(true) or any(len(end) != len(true) for end in ends) or (ends[0] > ends[1]).any():
        raise DataError(
            "A coverage report needs at least one image, with the lowest and the highest grade of "
            f"a set for each. Got {len(true)} grades, {len(ends[0])} lowest and {len(ends[1])} "
            "highest, or a lowest above its highest."
        )
    content = np.column_stack([true, *ends]).astype(float)
    bootstrap = bootstrap_of(
        content, groups, n_resamples=n_resamples, confidence=confidence, random_state=random_state
    )
    covered = (ends[0] <= true) & (true <= ends[1])
    every = np.ones(len(true), dtype=bool)
    sizes = (ends[1] - ends[0] + 1).astype(float)

    def share(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> Measure:
        drawn = bootstrap.scores(lambda w: {"share": share_of(w, hits, among)})["share"]
        return bootstrap.proportion(hits, among, drawn)

    drawn = bootstrap.scores(lambda w: {"size": mean_of(w, sizes)})["size"]
    straddles = (ends[0] < REFERABLE_GRADE) & (ends[1] >= REFERABLE_GRADE)
    return CoverageReport(
        coverage=share(covered, every),
        by_grade=tuple(share(covered, true == k) for k in range(n_grades)),
        size=bootstrap.measure(sizes.mean(), drawn),
        deferred=share(sizes > 1, every),
        undecided=share(straddles, every) if n_grades == N_GRADES else None,
        n_images=len(true),
        n_patients=None if groups is None else bootstrap.n_patients,
    )
