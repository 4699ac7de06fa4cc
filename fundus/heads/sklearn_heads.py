"""Support vector machine, logistic regression and ridge regression on standardised features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fundus.exceptions import DataError
from fundus.heads.base import EstimatorHead
from fundus.heads.view_scaler import view_scaler
from fundus.parameters import invalid


class LogisticHead(EstimatorHead):
    """Multinomial logistic regression.

    Parameters
    ----------
    C : float, default=1e-3
        Inverse strength of the L2 penalty; there are more features than images, so it is strong.
    max_iter : int, default=1000
        Most iterations of the solver.
    view_strength : float, default=0.0
        Strength of the `ViewStandardScaler` of the features, which needs ``augment_views``; 0 only
        standardises them.

    Examples
    --------
    >>> LogisticHead(C=0.01)
    LogisticHead(C=0.01)
    """

    def __init__(self, C: float = 1e-3, max_iter: int = 1000, view_strength: float = 0.0) -> None:
        self.C = C
        self.max_iter = max_iter
        self.view_strength = view_strength

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised logistic regression."""
        return make_pipeline(
            view_scaler(self),
            LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=random_state),
        )


class SVMHead(EstimatorHead):
    """Support vector machine with calibrated probabilities (Platt scaling on 5 inner folds).

    Parameters
    ----------
    C : float, default=1e-3
        Inverse strength of the penalty.
    kernel : str, default="linear"
    gamma : "scale", "auto" or float, default="scale"

    Examples
    --------
    >>> SVMHead(C=10)
    SVMHead(C=10)
    """

    def __init__(
        self, C: float = 1e-3, kernel: str = "linear", gamma: str | float = "scale"
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised, calibrated support vector classifier."""
        machine = SVC(C=self.C, kernel=self.kernel, gamma=self.gamma, random_state=random_state)
        rarest = int(grade_counts.min())
        if rarest < 2:
            raise DataError(
                "The 'svm' head calibrates its probabilities on held-out images, so every grade "
                f"needs at least 2 training images. Got a grade with {rarest}: add images, leave "
                "the grade out, or choose another head."
            )
        folds = StratifiedKFold(min(5, rarest))
        calibrated = CalibratedClassifierCV(machine, ensemble=False, cv=folds)
        return make_pipeline(StandardScaler(), calibrated)


class RidgeHead(EstimatorHead):
    """Ridge regression of the grade's position on the scale; the nearest grade is the prediction.

    Parameters
    ----------
    alpha : float, default=1000.0
        Strength of the L2 penalty.
    view_strength : float, default=0.0
        Strength of the `ViewStandardScaler` of the features, which needs ``augment_views``; 0 only
        standardises them.

    Examples
    --------
    >>> RidgeHead(alpha=100)
    RidgeHead(alpha=100)
    """

    is_regressor = True

    def __init__(self, alpha: float = 1000.0, view_strength: float = 0.0) -> None:
        self.alpha = alpha
        self.view_strength = view_strength

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a standardised ridge regression."""
        return make_pipeline(view_scaler(self), Ridge(alpha=self.alpha, random_state=random_state))


class EstimatorAsHead(EstimatorHead):
    """Any scikit-learn classifier or regressor as a head, on features as they are.

    Parameters
    ----------
    estimator : classifier or regressor
        Cloned at every fit. A regressor is trained on the grade's position on the scale.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> EstimatorAsHead(GaussianNB()).is_regressor
    False
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    @property
    def is_regressor(self) -> bool:  # type: ignore[override]
        """Whether the estimator is a regressor."""
        return bool(is_regressor(self.estimator))

    def make_estimator(self, *, grade_counts: NDArray[np.intp], random_state: int | None) -> Any:
        """Return a clone, seeded where it takes a seed of its own and has none."""
        estimator = clone(self.estimator)
        if not (is_classifier(estimator) or is_regressor(estimator)):
            expected = "a registered name, a head, or a scikit-learn classifier or regressor"
            raise invalid("TransferClassifier", "head", expected, self.estimator)
        if random_state is not None and estimator.get_params().get("random_state", 0) is None:
            estimator.set_params(random_state=random_state)
        return estimator
