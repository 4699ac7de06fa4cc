"""What meta-estimators take over from the classifier that they wrap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import get_tags

from fundus.grades.labels import to_positions
from fundus.meta.voting import Ballot


class WrapsClassifier(MetaEstimatorMixin, ClassifierMixin):
    """A classifier whose ``X`` is what its ``estimator`` takes."""

    # asked for, so that metadata routing brings the patients by itself
    __metadata_request__fit = {"groups": True}  # noqa: RUF012 - how scikit-learn reads it

    estimator: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        # around a regressor the labels are taken for ordered
        tags.classifier_tags.poor_score = (
            inner.classifier_tags is None or inner.classifier_tags.poor_score
        )
        return tags


class KeepsScale(WrapsClassifier):
    """A meta-estimator that knows the scale of the classifier it wraps.

    Attributes
    ----------
    ballot_ : Ballot
        How probabilities and severity are read from the classifier.
    classes_ : ndarray, shape (n_classes,)
    """

    ballot_: Ballot
    classes_: NDArray[Any]

    @property
    def grades_(self) -> NDArray[Any]:
        """The scale, lowest grade first."""
        return self.ballot_.scale

    def _rank(self) -> NDArray[np.intp]:
        """Rank on the scale of every class; classes are sorted as labels, not as grades."""
        return np.argsort(np.argsort(to_positions(self.classes_, self.ballot_.scale)))
