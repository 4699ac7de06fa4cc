"""All that is said of predictions on graded images: scores, screening, sets of grades, figures."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import fundus.cli.runs as runs
from fundus.cli.files import whole_file
from fundus.cli.outputs import SOFTWARE
from fundus.exceptions import DataWarning
from fundus.reporting.curves import plot_reliability, plot_roc
from fundus.reporting.displays import SeverityDisplay, new_figure, plot_confusion, rounding

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sklearn.utils import Bunch

    from fundus.cli.scoring import Scores
    from fundus.reporting.bootstrap import Measure
    from fundus.reporting.coverage import CoverageReport
    from fundus.reporting.report import Report
    from fundus.reporting.screening import ScreeningReport


@dataclass(frozen=True, eq=False)
class Scored:
    """What is said of predictions.

    Parameters
    ----------
    report : Report
    screening : ScreeningReport or None
        ``None`` without severities, or on a scale other than that of five grades.
    coverage : CoverageReport or None
        ``None`` where there are no sets, or the images calibrated them.
    """

    report: Report
    screening: ScreeningReport | None
    coverage: CoverageReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.report.to_dict(),
            "screening": None if self.screening is None else self.screening.to_dict(),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
        }

    def tables(self, title: str) -> list[Any]:
        """Return the tables for a terminal."""
        more = [part.table() for part in (self.screening, self.coverage) if part is not None]
        return [self.report.to_table(title), *more]

    def rows(self, of: str) -> pd.DataFrame:
        """Return every score as a row: of, score, value, low, high, and how the interval came."""
        named: dict[str, Measure] = dict(self.report.measures)
        for k, measure in enumerate(self.report.sensitivities):
            named[f"sensitivity_of_grade_{k}"] = measure
        for condition in () if self.screening is None else self.screening.conditions:
            named[f"{condition.name} auc"] = condition.auc
            for scored in condition.points:
                point = f"{condition.name} at {scored.point.wanted} {scored.point.goal:g}"
                named[f"{point}: sensitivity"] = scored.sensitivity
                named[f"{point}: specificity"] = scored.specificity
        if self.coverage is not None:
            named |= {"coverage": self.coverage.coverage, "set_size": self.coverage.size}
            named["deferred"] = self.coverage.deferred
            if self.coverage.undecided is not None:
                named["undecided"] = self.coverage.undecided
            for k, measure in enumerate(self.coverage.by_grade):
                named[f"coverage_of_grade_{k}"] = measure
        return pd.DataFrame(
            [{"of": of, "score": name, **measure.to_dict()} for name, measure in named.items()]
        )

    def draw(
        self,
        scores: Scores,
        data: Bunch,
        path: Callable[[str], Path],
        *,
        title: str,
        regressor: bool,
    ) -> dict[str, str]:
        """Draw the figures.

        Parameters
        ----------
        scores : Scores
        data : Bunch
        path : callable
            From the name of a figure to its file.
        title : str
            Of what images.
        regressor : bool
            Whether the nearest grade to the severity is the prediction.

        Returns
        -------
        dict
            What each file shows, by its name.
        """
        report = self.report
        head = f"{title}: QWK {report.qwk:.3f}, accuracy {report.accuracy:.3f}"
        confusion = plot_confusion(report.confusion, report.class_names, title=head)
        _write(confusion, path(runs.CONFUSION))
        files = {path(runs.CONFUSION).name: "confusion matrix"}
        if scores.severity is not None:
            figure = new_figure()
            SeverityDisplay.from_predictions(
                data.grades,
                scores.severity,
                n_grades=data.n_grades,
                class_names=data.class_names,
                boundaries=rounding(data.n_grades) if regressor else (),
                ax=figure.subplots(),
            )
            _write(figure, path(runs.SEVERITY))
            files[path(runs.SEVERITY).name] = "severity by true grade"
        if scores.proba is not None:
            figure = plot_reliability(
                data.grades, scores.proba, n_grades=data.n_grades, title=f"{title}: calibration"
            )
            _write(figure, path(runs.RELIABILITY))
            files[path(runs.RELIABILITY).name] = "predicted probabilities by how often they hold"
        if self.screening is not None:
            _write(plot_roc(self.screening, title=f"{title}: screening"), path(runs.ROC))
            files[path(runs.ROC).name] = "ROC curves and operating points"
        return files


def warn_of_other_criterion(with_dme: bool | None, screening: ScreeningReport | None) -> None:
    """Warn where macular oedema counted when the operating points were chosen, and now not.

    Parameters
    ----------
    with_dme : bool or None
        Whether it counted in training; ``None`` where no points were chosen.
    screening : ScreeningReport or None
        Of the images that are scored.

    Warns
    -----
    DataWarning
        If the two differ, either way.
    """
    if with_dme is None or screening is None or with_dme == screening.with_dme:
        return
    then, now = ("with", "without") if with_dme else ("without", "with")
    warnings.warn(
        f"The operating points were chosen {then} macular oedema, and these images are scored "
        f"{now} it, so they are about another finding: give both tables a column 'dme', or none.",
        DataWarning,
        stacklevel=2,
    )


def _write(figure: Figure, path: Path) -> None:
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=120, metadata={"Software": SOFTWARE})
