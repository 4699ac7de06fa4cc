"""Records of metrics and of report sections that plugins bring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: What a metric may compare with the true grades.
NEEDS = ("grades", "probabilities", "severity")


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A score of a grading, which evaluations and reports show beside the library's own.

    Parameters
    ----------
    name : str
        Its name; lower case letters, digits and underscores. Scores are called ``plugin/name``.
    function : callable
        ``function(y_true, found)`` returns a number, as the functions of ``sklearn.metrics`` do.
        ``y_true`` is int of shape ``(n_images,)``: grades as positions on the scale, 0 the lowest.
        ``found`` is what `needs` names. Neither may be changed.
    description : str
        One line: what it says.
    greater_is_better : bool, default=True
        ``False`` for errors and losses.
    needs : {"grades", "probabilities", "severity"}, default="grades"
        ``found`` is the predicted grades, int of shape ``(n_images,)``; the probabilities of all
        grades, float of shape ``(n_images, n_grades)``; or the severities, float of shape
        ``(n_images,)``. Models without them do not have the score.

    Examples
    --------
    >>> from sklearn.metrics import matthews_corrcoef
    >>> spec = MetricSpec(
    ...     name="mcc", function=matthews_corrcoef, description="Matthews's correlation."
    ... )
    >>> spec.needs
    'grades'
    """

    name: str
    function: Callable[[Any, Any], float]
    description: str
    greater_is_better: bool = True
    needs: str = "grades"


@dataclass(frozen=True, kw_only=True)
class ReportSectionSpec:
    """A section that ``fundus report`` adds to the report of a run.

    Parameters
    ----------
    name : str
        Its name; lower case letters, digits, underscores and hyphens.
    title : str
        Its heading.
    make : callable
        ``make(run)`` takes a `fundus.reporting.record.RunRecord`, and returns a sequence of the
        records of `fundus.documents.blocks`: `Text`, `Points`, `Table`, and `Picture` of a PNG or
        SVG in the run's folder. Without any, there is no section. All text is plain: the library
        escapes it for HTML and for Markdown.
    description : str
        One line: what it shows.

    Examples
    --------
    >>> def make(run):
    ...     from fundus.documents.blocks import Text
    ...     return [Text(f"{run.metrics['data']['n_images']} photographs.")]
    >>> spec = ReportSectionSpec(name="size", title="Size", make=make, description="How many.")
    """

    name: str
    title: str
    make: Callable[[Any], Sequence[Any]]
    description: str
