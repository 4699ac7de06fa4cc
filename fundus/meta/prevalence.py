"""Cutpoints for a known prevalence of the grades: quantiles of the severities."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from fundus.data.inputs import refuse_single
from fundus.exceptions import DataError, DataWarning, warn_caller
from fundus.grades.foreign import as_grader, is_frozen
from fundus.grades.labels import grade_scale, to_positions
from fundus.meta.cutpoints import OF_CUTPOINTS, CutpointClassifier
from fundus.meta.out_of_fold import TrainingData, out_of_fold
from fundus.parameters import invalid
from fundus.saving.mixin import DECIDED
from fundus.saving.schema import KNOWN_NUMBERS, Field, is_floats, require

#: How far from 1 shares may sum, and how far apart two cuts are equally good.
_ROUNDING = 1e-6


class PrevalenceCutpointClassifier(CutpointClassifier):
    """Cut severities into grades so that the grades have a known prevalence.

    The lowest cutpoint has the share of the lowest grade below it, the next one the share of the
    two lowest, and so on: they are quantiles of severities of images that their model has not seen.
    No label is needed for it, so that a fitted model can be fitted to a site's own photographs,
    none of them graded, where the site's prevalence is known.

    Parameters
    ----------
    estimator : classifier or regressor
        Its severity is ``predict_severity``, else what a regressor predicts, else a classifier's
        expected grade. In ``sklearn.frozen.FrozenEstimator`` a fitted one stays as it is: the
        quantiles are those of the images given to `fit`, which then needs no labels.
    prevalence : mapping of label to float or array-like of float, shape (n_grades,), default=None
        Share of each grade, of sum 1; in an array lowest grade first. A grade that a mapping lacks
        has the share 0 and is not predicted. ``None`` takes the shares in ``y``.
    cv : int, splitter or iterable, default=None
        Folds of the severities of training images, as in `TunedCutpointClassifierCV`. Rows in no
        test fold are not used for the cutpoints. No effect on a `FrozenEstimator`.
    n_jobs : int, default=None
        Number of folds fitted at the same time, in processes.
    random_state : int, RandomState or None, default=None
        Shuffles the folds; the estimator has its own seed.

    Attributes
    ----------
    estimator_ : estimator
        Fitted on all images.
    cutpoints_ : ndarray of float, shape (n_grades - 1,)
        Ascending, each midway between two neighbouring severities; infinite beyond the lowest and
        the highest grade that has a share. Equal severities are not parted, so where many are equal
        the predicted shares differ from the wanted ones.
    prevalence_ : ndarray of float, shape (n_grades,)
        Share of each grade of the scale.
    oof_severity_ : ndarray of float, shape (n_samples,)
        Severities that the quantiles are taken of; ``nan`` for rows in no test fold.
    classes_ : ndarray, shape (n_classes,)
        The labels in ``y``, sorted, or those of a fitted estimator; no other is predicted.
    grades_ : ndarray, shape (n_grades,)
        The scale.

    See Also
    --------
    TunedCutpointClassifierCV : Cutpoints that are best for graded images.

    Notes
    -----
    The predicted grades have the wanted shares, whether or not the severities rank the images well:
    this mends a shift of the severities, not their order. Where the prevalence is wrong, so are the
    grades. Cost: a sort.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import Ridge
    >>> X = np.arange(100.0).reshape(-1, 1)
    >>> graded = Ridge().fit(X, np.repeat([0, 1, 2], [50, 30, 20]))
    >>> site = PrevalenceCutpointClassifier(FrozenEstimator(graded), prevalence=[0.8, 0.15, 0.05])
    >>> np.bincount(site.fit(X + 25).predict(X + 25)).tolist()
    [80, 15, 5]
    """

    prevalence_: NDArray[np.float64]

    _saved: ClassVar[Collection[str]] = {
        **OF_CUTPOINTS,
        "oof_severity_": KNOWN_NUMBERS,
        "prevalence_": Field(
            "an array of shares", lambda v: is_floats(v) and bool(((v >= 0) & (v <= 1)).all())
        ),
    }

    def __init__(
        self,
        estimator: Any,
        *,
        prevalence: Any = None,
        cv: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.prevalence = prevalence
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit on images, which need no grades where the estimator is fitted already.

        Parameters
        ----------
        X : images or array-like
            What the estimator takes; a frame's ``patient`` column keeps patients together.
        y : array-like, shape (n_samples,), default=None
            Grades; may be left out for a `FrozenEstimator`, and has no effect on its cutpoints.
        sample_weight : array-like of float, shape (n_samples,), default=None
            Weights of the rows in the models and in the quantiles.
        groups : array-like, shape (n_samples,), default=None
            Patients; by default those of the frame.

        Returns
        -------
        self

        Raises
        ------
        InvalidParameterError
            If a parameter cannot be used, such as shares that do not sum to 1 or are of grades off
            the scale.
        SplitError
            If a fold has a patient or an image on both sides, or there are fewer patients than
            folds.
        DataError
            If lengths differ, a grade is missing, or a patient is unknown.

        Warns
        -----
        DataWarning
            Where there are too few images for the smallest share, or a grade with a share is none
            that the estimator was trained on.
        """
        if y is not None or not is_frozen(self.estimator):
            return super().fit(X, y, sample_weight, groups)  # type: ignore[arg-type]
        self._check()
        if self.prevalence is None:
            expected = "the shares of the grades where no labels are given"
            raise invalid(self, "prevalence", expected, None)
        refuse_single(X)
        for name in DECIDED:  # of an earlier fit
            self.__dict__.pop(name, None)
        model = self.estimator.estimator
        check_is_fitted(model)
        grader = as_grader(model)
        self.estimator_, self.grades_ = model, self._scale_of(grader)
        self.classes_ = grader.classes_ if len(grader.classes_) else np.unique(self.grades_)
        self._shares(None)  # refused before images are read
        reading = self._graders()[0].read_images(X)
        self.oof_severity_ = np.asarray(self._inner_votes(reading).severity, dtype=np.float64)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, self.oof_severity_, dtype=np.float64)
        self._cut(weight, None)
        self._take_features_of(model, X)
        return self

    def _check(self) -> None:
        shares = self.prevalence
        if shares is not None:
            values = list(shares.values()) if isinstance(shares, Mapping) else shares
            _as_shares(self, values, shares)
        if isinstance(self.cv, str):
            expected = "an int, a splitter or an iterable; a fitted model is FrozenEstimator(model)"
            raise invalid(self, "cv", expected, self.cv)
        self._check_severity()

    def _check_saved(self) -> None:
        super()._check_saved()
        n_grades, found = len(self.grades_), len(self.prevalence_)
        require(found == n_grades, self, "prevalence_", f"of {n_grades} grades", found)

    def _fit(self, data: TrainingData) -> None:
        folds = self._folds(data, self.cv, self.random_state)
        self._fit_rows(data, np.arange(len(data.y)), self.random_state)
        shares_of_labels = _bincount(to_positions(data.y, self.grades_), data.weight, self.grades_)
        self._shares(shares_of_labels)  # refused before the folds are fitted
        if is_frozen(self.estimator):
            self.oof_severity_ = self._severity_of_test(data, folds[0][1])
        else:
            self.oof_severity_, _ = out_of_fold(
                self.estimator,
                data,
                folds,
                self.grades_,
                n_jobs=self.n_jobs,
                random_state=self.random_state,
            )
        self._cut(data.weight, shares_of_labels)

    def _cut(self, weight: NDArray[np.float64] | None, of_labels: NDArray[Any] | None) -> None:
        """Take the quantiles of the severities that are known."""
        tested = ~np.isnan(self.oof_severity_)
        severity = self.oof_severity_[tested]
        heavy = np.ones(len(severity)) if weight is None else weight[tested]
        self.prevalence_ = self._shares(of_labels)
        self.cutpoints_ = quantile_cutpoints(severity, self.prevalence_, heavy)
        if self.prevalence is not None:
            self._warn(int((heavy > 0).sum()))

    def _warn(self, n: int) -> None:
        held = self.prevalence_ > 0
        least = float(self.prevalence_[held].min())
        if n * least < 1 - _ROUNDING:
            warn_caller(
                f"{n} images are too few for the smallest share of 'prevalence', {least:g}, of "
                f"which there is one in {math.ceil(1 / least)}: the cutpoints next to it are "
                "chance. Fit on more images.",
                DataWarning,
            )
        strange = np.setdiff1d(self.grades_[held], self.classes_).tolist()
        if strange:
            warn_caller(
                f"'prevalence' has a share of {strange}, and the estimator was trained on "
                f"{self.classes_.tolist()} only: such images get the nearest of these.",
                DataWarning,
            )

    def _scale_of(self, grader: Any) -> NDArray[Any]:
        """Return the scale of a fitted model, or that of the shares where it has none."""
        if len(grader.grades_):
            return grader.grades_
        if not isinstance(self.prevalence, Mapping):
            return grade_scale(len(self.prevalence))
        scale = grade_scale(list(self.prevalence))
        return np.sort(scale) if scale.dtype.kind in "iuf" else scale

    def _shares(self, of_labels: NDArray[Any] | None) -> NDArray[np.float64]:
        """Return the share of each grade of the scale."""
        given, scale = self.prevalence, self.grades_.tolist()
        if given is None:
            assert of_labels is not None
            return of_labels / of_labels.sum()
        if isinstance(given, Mapping):
            if not set(given) <= set(scale):
                raise invalid(self, "prevalence", f"shares of grades out of {scale}", given)
            given = [given.get(label, 0.0) for label in scale]
        shares = _as_shares(self, given, self.prevalence)
        if len(shares) != len(scale):
            expected = f"{len(scale)} shares, one for each of the grades {scale}"
            raise invalid(self, "prevalence", expected, self.prevalence)
        return shares / shares.sum()


def _as_shares(owner: object, values: Any, given: Any) -> NDArray[np.float64]:
    try:
        shares = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.array(np.nan)
    sound = shares.ndim == 1 and np.isfinite(shares).all() and (shares >= 0).all()
    if not sound or abs(shares.sum() - 1) > _ROUNDING:
        expected = "None, or a share of at least 0 for each grade, of sum 1"
        raise invalid(owner, "prevalence", expected, given)
    return shares


def _bincount(
    positions: NDArray[np.intp], weight: NDArray[np.float64] | None, scale: NDArray[Any]
) -> NDArray[np.float64]:
    return np.bincount(positions, weight, minlength=len(scale)).astype(np.float64)


def quantile_cutpoints(
    severity: NDArray[np.float64], shares: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the cutpoints between which the shares of the severities are nearest to those wanted.

    Parameters
    ----------
    severity : ndarray of float, shape (n_samples,)
    shares : ndarray of float, shape (n_grades,)
        Of sum 1, lowest grade first.
    weight : ndarray of float, shape (n_samples,)

    Returns
    -------
    ndarray of float, shape (n_grades - 1,)
        Ascending; of two that are equally near the lower one.

    Raises
    ------
    DataError
        If no row has weight, or a severity is not finite.

    Examples
    --------
    >>> quantile_cutpoints(np.arange(10.0), np.array([0.5, 0.3, 0.0, 0.2]), np.ones(10)).tolist()
    [4.5, 7.5, 7.5]
    """
    values = severity[weight > 0]
    if not len(values) or not np.isfinite(values).all():
        wrong = "none" if not len(values) else f"{values[~np.isfinite(values)][0]}"
        raise DataError(f"Cutpoints need rows with weight and a finite severity. Got {wrong}.")
    levels, codes = np.unique(values, return_inverse=True)
    below = np.concatenate([[0.0], np.cumsum(np.bincount(codes, weight[weight > 0]))])
    between = (levels[:-1] + levels[1:]) / 2
    # of adjacent floats the middle may be the lower one, which must stay below its cutpoint
    between = np.where(between <= levels[:-1], levels[1:], between)
    cuts = np.concatenate([[-np.inf], between, [np.inf]])
    distance = np.abs(below / below[-1] - np.cumsum(shares)[:-1, np.newaxis])
    nearest = distance <= distance.min(axis=1, keepdims=True) + _ROUNDING
    return cuts[nearest.argmax(axis=1)]
