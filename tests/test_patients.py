"""Patients that are unknown are refused by whatever takes patients, with the row named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge

from fundus import (
    CumulativeCalibratedClassifierCV,
    FixedCutpointClassifier,
    FoldEnsemble,
    GuardedSplit,
    OrdinalConformalClassifier,
    SecondStageClassifier,
    TransferClassifier,
    TunedCutpointClassifierCV,
    audit_images,
    check_split,
    patient_grades,
)
from fundus.exceptions import DataError
from fundus.grades.patients import read_patients
from fundus.model_selection.splits import make_cv
from fundus.reporting.report import make_report
from fundus.transfer.validation_split import inner_split

Y = np.arange(60) % 3
X = np.random.default_rng(0).normal(size=(60, 4)) + Y[:, np.newaxis]


def with_gap(kind):
    """Two rows a patient; that of rows 4 and 5 is unknown."""
    who = [f"p{row // 2:02d}" for row in range(60)]
    numbers = [float(row // 2) for row in range(60)]
    return {
        "array with None": lambda: np.array([*who[:4], None, None, *who[6:]], dtype=object),
        "list with None": lambda: [*who[:4], None, None, *who[6:]],
        "list of text with NaN": lambda: [*who[:4], np.nan, np.nan, *who[6:]],
        "series with None": lambda: pd.Series([*who[:4], None, None, *who[6:]]),
        "numbers with NaN": lambda: np.array([*numbers[:4], np.nan, np.nan, *numbers[6:]]),
        "nullable numbers": lambda: pd.array([*numbers[:4], pd.NA, pd.NA, *numbers[6:]], "Int64"),
        "categorical": lambda: pd.Categorical([*who[:4], None, None, *who[6:]]),
    }[kind]()


KINDS = (
    "array with None", "list with None", "list of text with NaN", "series with None",
    "numbers with NaN", "nullable numbers", "categorical",
)  # fmt: skip
TABLE = TransferClassifier("precomputed", "logistic", random_state=0)
TAKERS = {
    "TransferClassifier": lambda who: TABLE.fit(X, Y, groups=who),
    "FoldEnsemble": lambda who: FoldEnsemble(TABLE, cv=2).fit(X, Y, groups=who),
    "fit_all": lambda who: FoldEnsemble(TABLE, cv=2).fit(X, Y).fit_all(X, Y, groups=who),
    "tuned": lambda who: TunedCutpointClassifierCV(Ridge(), cv=2).fit(X, Y, groups=who),
    "fixed": lambda who: FixedCutpointClassifier(Ridge(), cutpoints=(0.5, 1.5)).fit(
        X, Y, groups=who
    ),
    "second": lambda who: SecondStageClassifier(LogisticRegression(), cv=2).fit(X, Y, groups=who),
    "calibrated": lambda who: CumulativeCalibratedClassifierCV(LogisticRegression(), cv=2).fit(
        X, Y, groups=who
    ),
    "conformal": lambda who: OrdinalConformalClassifier(LogisticRegression(), cv=2).fit(
        X, Y, groups=who
    ),
    "frozen": lambda who: OrdinalConformalClassifier(
        FrozenEstimator(LogisticRegression().fit(X, Y))
    ).fit(X, Y, groups=who),
    "from_ensemble": lambda who: OrdinalConformalClassifier.from_ensemble(
        FoldEnsemble(LogisticRegression(), cv=2).fit(X, Y), Y, groups=who
    ),
    "check_split": lambda who: check_split(2, X, Y, groups=who),
    "GuardedSplit": lambda who: list(GuardedSplit(2).split(X, Y, who)),
    "make_cv": lambda who: make_cv(2, Y, who, 0),
    "inner_split": lambda who: inner_split(Y, who, 0.2, 0),
    "audit": lambda who: audit_images(np.zeros((60, 8, 8, 3), np.uint8), groups=who, cv=None),
    "report": lambda who: make_report(Y, Y, groups=who),
    "patient_grades": lambda who: patient_grades(Y, who),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taker", TAKERS)
def test_an_unknown_patient_is_refused_with_its_row(taker, kind):
    with pytest.raises(DataError, match="must name a patient in every row.* in row 4, and in 1 mo"):
        TAKERS[taker](with_gap(kind))


@pytest.mark.parametrize("taker", TAKERS)
def test_patients_of_another_shape_are_refused(taker):
    two_columns = np.zeros((60, 2))
    with pytest.raises(DataError, match="1-D|shape"):
        TAKERS[taker](two_columns)
    with pytest.raises(DataError, match="one patient a row|of one length"):
        TAKERS[taker](["anna"] * 59)


def test_a_frame_is_refused_in_the_same_words():
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "patient": ["anna", None]})
    with pytest.raises(DataError, match="The 'patient' column of X must name a patient .* row 1"):
        check_split(2, frame, [0, 1])


def test_known_patients_pass_as_they_are():
    for who in (np.arange(4), ["a", "b", "c", "c"], pd.Series([1, 2, 2, 3], dtype="Int64")):
        assert read_patients(who, 4).tolist() == list(who)


def test_text_and_numbers_in_one_column_split_like_text():
    # a spreadsheet reads 12 as a number and 12a as text
    mixed = pd.Series([row // 2 if row < 20 else f"{row // 2}a" for row in range(60)], dtype=object)
    text = mixed.astype(str).to_numpy(dtype=object)
    folds = FoldEnsemble(TABLE, cv=3, random_state=0).fit(X, Y, groups=mixed).oof_fold_
    same = FoldEnsemble(TABLE, cv=3, random_state=0).fit(X, Y, groups=text).oof_fold_
    assert np.array_equal(folds, same)
    assert (folds[::2] == folds[1::2]).all()
