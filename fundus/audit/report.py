"""What an audit of a data set has found, as a table, JSON values and a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fundus.audit.lists import alike_of, suspects_of
from fundus.exceptions import DataError
from fundus.grades.icdr import patient_grades
from fundus.runtime.shown import Shown
from fundus.runtime.terminal import new_table

if TYPE_CHECKING:
    from rich.console import Group

#: Every issue an image may have, and what it means.
ISSUES = {
    "unreadable": "no whole image",
    "set_aside": "a row that cannot be used: see 'reason'",
    "duplicate": "pixels of another image",
    "near_duplicate": "nearly another image, or the same eye",
    "conflicting_labels": "a (near) duplicate has another grade",
    "label_suspect": "out of fold, another grade is far likelier",
    "no_field_of_view": "no lit disc on a dark border",
    "dark": "little light in the field of view",
    "blurred": "hardly an edge in the field of view",
}

#: Of all labels, this many with the least out-of-fold probability count as the most suspect.
SUSPECT_SHARE = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class Audit(Shown):
    """What `audit_images` has found.

    Parameters
    ----------
    images : DataFrame
        A row for each image; see `audit_images`.
    pairs : DataFrame
        Nearly identical images, as `find_near_duplicates` returns them.
    patients_known : bool
        Whether the patients are real, not one for each image.
    """

    images: pd.DataFrame
    pairs: pd.DataFrame
    patients_known: bool = True

    def count(self, issue: str) -> int:
        """Number of images that have an issue.

        Parameters
        ----------
        issue : str
            A key of ``ISSUES``.
        """
        return int(self.has(issue).sum())

    def has(self, issue: str) -> pd.Series:
        """Tell which images have an issue."""
        return self.images["issues"].str.split(";").map(lambda issues: issue in issues)

    def suspects(self) -> pd.DataFrame:
        """Return the images to look at: doubtful labels, then odd pictures.

        Returns
        -------
        DataFrame
            ``row``, in ``images``; ``path``; ``kind``, "label" or "picture"; ``grade``,
            ``likely_grade``, ``self_confidence`` and ``severity``; ``issues``; ``fov_share``,
            ``brightness`` and ``sharpness``. Labels stand by their self-confidence, the least
            first, and pictures that show no field of view, are dark or blurred by their
            brightness; what is both stands among the labels.
        """
        return suspects_of(self.images)

    def alike(self) -> pd.DataFrame:
        """Return all copies and near duplicates, two by two.

        Returns
        -------
        DataFrame
            ``row`` and ``other_row``, in ``images``; ``path`` and ``other_path``; ``what``, "copy"
            or "near duplicate", and whether it is mirrored; ``correlation``, 1 for copies;
            ``grade``, ``patient`` and those of the other; ``grades_differ``; ``across_patients``,
            missing where patients are not known. Pairs of two patients come first, then those
            whose grades differ, the most alike first. A copy of several stands beside the first.
        """
        return alike_of(self.images, self.pairs, patients_known=self.patients_known)

    def balance(self) -> pd.DataFrame:
        """Count images, and patients by their worst eye, of every grade.

        Returns
        -------
        DataFrame
            Indexed by grade, columns ``images`` and, where patients are known, ``patients``.
        """
        graded = self.images.dropna(subset=["grade"])
        counts = pd.DataFrame({"images": graded["grade"].value_counts().sort_index()})
        if self.patients_known and len(graded):
            worst = patient_grades(graded["grade"].to_numpy(int), graded["patient"])
            counts["patients"] = worst.value_counts().reindex(counts.index, fill_value=0)
        return counts

    def enrichment(self, marked: ArrayLike, *, share: float = SUSPECT_SHARE) -> dict[str, Any]:
        """Count marked images, such as disputed labels, among the most suspect.

        Parameters
        ----------
        marked : array-like of bool, shape (n_images,)
        share : float, default=0.1
            How many of the images with a score count as most suspect.

        Returns
        -------
        dict
            ``n_marked``, ``n_top`` and ``found`` in images; ``expected`` by chance; ``p_value``,
            the hypergeometric chance of as many or more; ``low`` and ``high``, the 95 %
            Clopper-Pearson interval of the share of the marked that is found.

        Raises
        ------
        DataError
            If `marked` has another length.
        """
        from scipy.stats import binomtest, hypergeom

        chosen = np.asarray(marked, dtype=bool)
        if chosen.shape != (len(self.images),):
            raise DataError(
                f"marked must have one value for each of the {len(self.images)} images. "
                f"Got shape {chosen.shape}."
            )
        scores = self.images["self_confidence"]
        scored = scores.notna().to_numpy()
        n, n_marked = int(scored.sum()), int((chosen & scored).sum())
        n_top = round(share * n)
        top = scores[scored].sort_values(kind="stable").index[:n_top]
        found = int(chosen[self.images.index.get_indexer(top)].sum())
        ci = binomtest(found, n_marked).proportion_ci() if n_marked else None
        return {
            "n_marked": n_marked,
            "n_top": n_top,
            "found": found,
            "expected": n_marked * n_top / n if n else 0.0,
            "p_value": float(hypergeom.sf(found - 1, n, n_marked, n_top)) if n else 1.0,
            "low": float(ci.low) if ci else None,
            "high": float(ci.high) if ci else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        balance = self.balance()
        return {
            "n_images": len(self.images),
            "n_patients": self.images["patient"].nunique() if self.patients_known else None,
            "issues": {issue: self.count(issue) for issue in ISSUES},
            "n_near_duplicate_pairs": len(self.pairs),
            "grades": {
                str(grade): {name: int(n) for name, n in row.items()}
                for grade, row in balance.to_dict("index").items()
            },
        }

    def to_table(self) -> Group:
        """Return the counts for a terminal."""
        from rich.console import Group

        issues = new_table(f"Audit of {len(self.images)} images", "issue")
        issues.add_column("images", justify="right")
        issues.add_column("what it means")
        for issue, meaning in ISSUES.items():
            issues.add_row(issue, str(self.count(issue)), meaning)
        balance, shown = self.balance(), [issues]
        if len(balance):
            columns = [*balance.columns]
            title = "Balance" + (", patients by their worst eye" if "patients" in columns else "")
            grades = new_table(title, "grade", caption_justify="center")
            for name in (*columns, "share of images"):
                grades.add_column(name, justify="right")
            for grade, row in balance.iterrows():
                share = row["images"] / balance["images"].sum()
                grades.add_row(str(grade), *(str(row[c]) for c in columns), f"{share:.1%}")
            if self.patients_known:
                each = self.images["patient"].value_counts()
                grades.caption = (
                    f"{len(each)} patients with {each.min()} to {each.max()} images, "
                    f"{each.median():g} in the middle"
                )
            shown.append(grades)
        return Group(*shown)
