"""`check_metric`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import PluginError
from fundus.hookspecs import MetricSpec
from fundus.metrics.registered import metric_value, needed
from fundus.plugins.registry import Entry
from fundus.testing.checks import expect, registered, run_checks

#: Images of the gradings that a metric is tried on.
_N = 60


def check_metric(metric: str | MetricSpec) -> None:
    """Check that a metric follows the contract.

    It must give a number for gradings on scales of two, three and five grades, the same each time,
    leave its arguments as they are, and be better for a right grading than for one at random, as
    `greater_is_better` says. Of images that lack a grade it may be ``nan`` or fail, since such
    resamples are left out of intervals.

    Parameters
    ----------
    metric : str or MetricSpec
        A registered name, or a record.

    Raises
    ------
    AssertionError
        If it breaks the contract; the message says how, and what to change.
    UnknownNameError
        If no metric has the name.

    Examples
    --------
    >>> from sklearn.metrics import matthews_corrcoef
    >>> check_metric(MetricSpec(name="mcc", function=matthews_corrcoef, description="MCC."))
    """
    with registered("metric", MetricSpec, metric) as entry:
        run_checks(MetricCase(entry), METRIC_CHECKS)


@dataclass
class MetricCase:
    """A metric under test."""

    entry: Entry

    @property
    def what(self) -> str:
        """Start of messages."""
        return f"The metric {self.entry.spec.name!r}"

    def value(self, true: NDArray[np.intp], shown: NDArray[np.intp], n_grades: int) -> float:
        """Return the score of a grading that names the grades `shown`, which it is sure of."""
        proba = np.full((len(true), n_grades), 0.1 / n_grades)
        proba[np.arange(len(true)), shown] += 0.9
        found = needed(self.entry, shown, shown.astype(np.float64), proba)
        assert found is not None
        try:
            return metric_value(self.entry, true, found)
        except PluginError as error:
            raise AssertionError(
                f"{self.what} must give a number for {len(true)} images on a scale of {n_grades} "
                f"grades. {error}"
            ) from error


def _gradings(n_grades: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """True grades, and the same in another order."""
    true = np.arange(_N) % n_grades
    return true, np.random.default_rng(0).permutation(true)


def _check_values(case: MetricCase) -> None:
    for n_grades in (2, 3, 5):
        true, drawn = _gradings(n_grades)
        for shown in (true, drawn):
            first, again = (case.value(true, shown, n_grades) for _ in range(2))
            expect(
                math.isfinite(first),
                f"{case.what} must be a finite number where all grades occur. Got {first} on a "
                f"scale of {n_grades} grades.",
            )
            expect(
                first == again,
                f"{case.what} must be the same for the same grading. Got {first!r} and {again!r}: "
                "draw nothing at random.",
            )


def _check_direction(case: MetricCase) -> None:
    spec = case.entry.spec
    sign = 1 if spec.greater_is_better else -1
    for n_grades in (2, 5):
        true, drawn = _gradings(n_grades)
        right, chance = (case.value(true, shown, n_grades) for shown in (true, drawn))
        better = sign * (right - chance)
        # what is about distant grades has nothing to say on a scale of two
        expect(
            better > 0 or (better == 0 and n_grades == 2),
            f"{case.what}: greater_is_better is {spec.greater_is_better}, so a right grading must "
            f"have a {'greater' if sign > 0 else 'smaller'} value than one at random. Got "
            f"{right:.6g} and {chance:.6g} on a scale of {n_grades} grades: turn greater_is_better "
            "round, or mend the function.",
        )


def _check_arguments(case: MetricCase) -> None:
    true, drawn = _gradings(5)
    proba = np.full((_N, 5), 0.2)
    found = needed(case.entry, drawn, drawn.astype(np.float64), proba)
    assert found is not None
    given = true.copy(), found.copy()
    case.entry.spec.function(*given)
    same = np.array_equal(given[0], true) and np.array_equal(given[1], found)
    expect(same, f"{case.what} must not change its arguments: work on a copy.")


METRIC_CHECKS: dict[str, Callable[[Any], None]] = {
    "values": _check_values,
    "direction": _check_direction,
    "arguments": _check_arguments,
}
