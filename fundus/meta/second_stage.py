"""`SecondStageClassifier`: a second model on the first one's scores and other columns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer

from fundus.data.columns import fellow_severity, numeric_column, right_eyes
from fundus.exceptions import DataError, SplitError
from fundus.grades.foreign import as_grader, whole_scale
from fundus.grades.grader import Reader, Reading, Votes
from fundus.heads.sklearn_heads import LogisticHead
from fundus.meta.base import OF_A_GRADER, MetaGrader
from fundus.meta.out_of_fold import TrainingData, fit_fold, fold_template, out_of_fold
from fundus.model_selection.leaks import refuse_unseen_grades
from fundus.parameters import check_option, invalid
from fundus.saving.schema import FITTED, KNOWN_NUMBERS, NAMES, SCALE, instance, require
from fundus.transfer.classifier import TransferClassifier
from fundus.transfer.parameters import PRECOMPUTED, head_assumes_order

#: Columns of a frame that are not measurements.
_KEYS = ("path", "patient", "eye")


class SecondStageClassifier(MetaGrader):
    """Grade by a second model, from the first one's scores, the fellow eye and measurements.

    The second model is trained on out-of-fold scores of the first, so it never sees the first one's
    scores of images it was trained on. The first is then fitted on all images.

    Parameters
    ----------
    estimator : classifier or regressor
        The first model. It gets `X` as it is; a frame without a ``path`` column goes to it without
        ``patient``, ``eye`` and `columns`.
    final_estimator : str, Head, classifier or regressor, default=None
        The second model, on standardised columns: what `TransferClassifier` takes as ``head``.
        ``None`` is ``LogisticHead(C=1.0)``.
    columns : sequence of str, default=()
        Numeric columns of the frame `X` for the second model, such as image quality. A missing
        value is replaced by the median, and another column marks where it was missing.
    eye : {"auto", True, False}, default="auto"
        Whether the second model uses the eye's side (column ``eye``: "left" or "right");
        "auto": where the frame has the column.
    fellow : {"auto", True, False}, default="auto"
        Whether it uses the severity of the same patient's other eye, the mean of several images
        (columns ``patient`` and ``eye``); "auto": where the frame has both. The fellow is looked
        for in the rows of the same `X`, so pass all photographs of a patient together.
    cv : int, splitter or iterable, default=5
        An int means `StratifiedGroupKFold` where there are patients, else `StratifiedKFold`, both
        shuffled. Every row must be in one test fold.
    n_jobs : int, default=None
        Number of folds fitted at the same time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds and seeds the second model; the first one has its own seed.

    Attributes
    ----------
    estimator_ : estimator
        The first model, fitted on all images.
    final_estimator_ : TransferClassifier
        The second model.
    imputer_ : SimpleImputer
        Fills missing values.
    second_features_ : list of str
        Columns of the second model, without those that mark missing values.
    oof_severity_ : ndarray of float, shape (n_samples,)
        The first model's out-of-fold severities, in positions on the scale.
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted.
    grades_ : ndarray, shape (n_grades,)
        The scale.

    See Also
    --------
    sklearn.ensemble.StackingClassifier : Combines several first models.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> X = pd.DataFrame({"score": y + rng.normal(size=60), "sharpness": rng.normal(size=60)})
    >>> first = TransferClassifier("precomputed", "ridge")
    >>> model = SecondStageClassifier(first, columns=["sharpness"], random_state=0).fit(X, y)
    >>> model.second_features_
    ['severity', 'probability_0', 'probability_1', 'probability_2', 'sharpness']
    """

    _saved: ClassVar[Collection[str]] = {
        **OF_A_GRADER,
        "estimator_": FITTED,
        "grades_": SCALE,
        "final_estimator_": instance(TransferClassifier, "a TransferClassifier"),
        "imputer_": instance(SimpleImputer, "a SimpleImputer"),
        "second_features_": NAMES,
        "oof_severity_": KNOWN_NUMBERS,
    }

    def __init__(
        self,
        estimator: Any,
        final_estimator: Any = None,
        *,
        columns: Any = (),
        eye: Any = "auto",
        fellow: Any = "auto",
        cv: Any = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.final_estimator = final_estimator
        self.columns = columns
        self.eye = eye
        self.fellow = fellow
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _fit(self, data: TrainingData) -> None:
        classes, codes = np.unique(data.y, return_inverse=True)
        self._refuse_grades(data.X, codes, len(classes))
        first = replace(data, X=self._for_first(data.X))
        folds = data.folds(self.cv, self.estimator, self.random_state)
        self._check_folds(folds, data)
        model = fold_template(self.estimator, None, first.y, first.groups, self.random_state)
        rows = np.arange(len(codes))
        target = first.target_of(self.estimator)
        model = fit_fold(model, first.X, target, rows, first.weight, first.groups)
        self.estimator_, self.classes_ = model, classes
        self.grades_ = whole_scale(model, classes, data.scale)
        self.oof_severity_, proba = out_of_fold(
            self.estimator,
            first,
            folds,
            self.grades_,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        )
        table = self._table(data.X, self.oof_severity_, proba)
        self.second_features_ = list(table)
        self.imputer_ = SimpleImputer(
            strategy="median", add_indicator=True, keep_empty_features=True
        ).fit(table.to_numpy())
        filled = self.imputer_.transform(table.to_numpy())
        self.final_estimator_ = self._second(self.grades_.tolist())
        self.final_estimator_.fit(filled, data.y, sample_weight=data.weight, groups=data.groups)

    def _check_saved(self) -> None:
        super()._check_saved()
        self._check_scale()
        names, final = self.second_features_, self.final_estimator_
        require(len(set(names)) == len(names) > 0, self, "second_features_", "each once", names)
        gives = as_grader(self.estimator_).gives_proba()
        fixed = ["severity", *(f"probability_{label}" for label in self.classes_ if gives)]
        expected = f"{fixed}, and then other columns"
        require(names[: len(fixed)] == fixed, self, "second_features_", expected, names)
        width = np.shape(self.imputer_.transform(np.zeros((1, len(names)))))[1]
        takes = getattr(final, "n_features_in_", None)
        require(takes == width, self, "imputer_", f"one that gives {takes} columns", width)
        same = np.array_equal(final.classes_, self.classes_) and np.array_equal(
            final.grades_, self.grades_
        )
        require(same, self, "final_estimator_", "of the same classes and grades", final.classes_)

    def _take_features_of(self, model: Any, X: Any) -> None:
        whole = self._for_first(X) is X
        super()._take_features_of(model if whole else None, X)

    def _final(self) -> TransferClassifier:
        fitted = "final_estimator_" in vars(self)
        return self.final_estimator_ if fitted else self._second(None)

    @property
    def votes_by(self) -> str:
        """How an ensemble of models like this one votes."""
        return self.final_estimator_.votes_by

    @property
    def takes_images(self) -> bool:
        """Whether it predicts from images alone: it does not."""
        return False

    def gives_proba(self) -> bool:
        """Whether it has probabilities, fitted or not."""
        return self._final().gives_proba()

    def gives_severity(self) -> bool:
        """Whether it has a severity: always."""
        return True

    def readers(self) -> list[Reader]:
        """Return the frozen layers of the first model, which read its part of `X`."""

        def of_first(reader: Reader) -> Reader:
            return replace(reader, run=lambda X: reader.run(self._for_first(X)))

        return [of_first(reader) for reader in super().readers()]

    def votes_of(self, reading: Reading) -> Votes:
        """Predict with the second model, from the first one's predictions and the columns."""
        return self.final_estimator_.votes_of(Reading(self._second_input(reading)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # probabilities keep all information about unordered classes, severities do not
        tags.classifier_tags.poor_score |= head_assumes_order(self._second(None))
        return tags

    def _second(self, grades: Any) -> TransferClassifier:
        head = LogisticHead(C=1.0) if self.final_estimator is None else self.final_estimator
        return TransferClassifier(PRECOMPUTED, head, grades=grades, random_state=self.random_state)

    def _second_input(self, reading: Reading) -> NDArray[np.float64]:
        X = reading.images
        votes = self._inner_votes(replace(reading, images=self._for_first(X)))
        assert votes.severity is not None
        table = self._table(X, votes.severity, votes.proba)
        if list(table) != self.second_features_:
            raise DataError(
                "X must have the columns it had in fit, so that the second model has "
                f"{self.second_features_}. Got {list(table)} instead."
            )
        return self.imputer_.transform(table.to_numpy())

    def _check(self) -> None:
        check_option(self, "eye", ("auto", True, False))
        check_option(self, "fellow", ("auto", True, False))
        self._check_severity()
        wrong = isinstance(self.columns, str) or not all(isinstance(c, str) for c in self.columns)
        if wrong or set(self.columns) & set(_KEYS):
            raise invalid(self, "columns", "a sequence of names of numeric columns", self.columns)

    def _wants(self, name: str, X: Any) -> bool:
        needs = ("eye",) if name == "eye" else ("patient", "eye")
        there = isinstance(X, pd.DataFrame) and set(needs) <= set(X.columns)
        wanted = getattr(self, name)
        if wanted is True and not there:
            raise DataError(
                f"{name}=True needs a frame as X with the columns {', '.join(needs)}. "
                f"Got {list(X.columns) if isinstance(X, pd.DataFrame) else type(X).__name__}."
            )
        return there if wanted == "auto" else bool(wanted)

    def _for_first(self, X: Any) -> Any:
        if not isinstance(X, pd.DataFrame) or "path" in X.columns:
            return X
        own = [name for name in ("patient", "eye", *self.columns) if name in X.columns]
        return X.drop(columns=own) if own else X

    def _table(
        self, X: Any, severity: NDArray[np.float64], proba: NDArray[np.float64] | None
    ) -> pd.DataFrame:
        """Columns of the second model; missing values are ``nan``."""
        table = {"severity": severity}
        if proba is not None:
            table |= {f"probability_{label}": proba[:, k] for k, label in enumerate(self.classes_)}
        if self._wants("eye", X):
            table["eye_right"] = right_eyes(X)
        if self._wants("fellow", X):
            table["fellow_severity"] = fellow_severity(X, severity)
        table |= {name: numeric_column(X, name) for name in self.columns}
        return pd.DataFrame(table)

    def _refuse_grades(self, X: Any, codes: NDArray[np.intp], n_classes: int) -> None:
        for name in self.columns:
            values = numeric_column(X, name)
            pairs = len(np.unique(np.column_stack([values, codes]), axis=0))
            if pairs == len(np.unique(values)) == n_classes:
                raise DataError(
                    f"The column {name!r} of X is the grade in other numbers, which new images "
                    "do not have: leave it out of 'columns'."
                )

    def _check_folds(self, folds: Any, data: TrainingData) -> None:
        refuse_unseen_grades(folds, data.y, data.groups)
        tested = np.concatenate([test for _, test in folds])
        if len(tested) < len(data.y):
            raise SplitError(
                "Every row must be in one test fold, to have an out-of-fold score. "
                f"Got {len(data.y) - len(tested)} rows in none: use another splitter."
            )
        if self._wants("fellow", data.X) and data.groups is not None:
            units = pd.DataFrame({"patient": data.X["patient"].to_numpy(), "group": data.groups})
            split = units.groupby("patient", sort=False)["group"].nunique()
            if (split > 1).any():
                raise SplitError(
                    f"Patient {split.index[split > 1][0]!r} is in several groups, so a fellow "
                    "eye's severity could come from a model that was trained on the other eye: "
                    "give groups that keep patients together, or none."
                )
