"""A scorer that looks at changed views of the validation images, for searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import get_scorer

from fundus.data.inputs import Images, as_images, is_image_data
from fundus.exceptions import DataError
from fundus.frozen.views import ViewedImages
from fundus.images.augment import Augmentation
from fundus.metrics.kappa import kappa_scorer
from fundus.parameters import invalid


def make_view_scorer(
    metric: str | Callable[..., float] = "qwk",
    *,
    views: int = 2,
    augmentation: Augmentation | None = None,
    random_state: int = 0,
) -> Any:
    """Return a scorer of changed views of the images, to choose what survives another camera.

    The score is the mean over the views; the unchanged images are not scored. Views are seeded by
    an image's content, so that every candidate of a search sees the same ones, and what frozen
    layers make of them is kept.

    Parameters
    ----------
    metric : str or callable, default="qwk"
        "qwk" is `kappa_scorer`; else a name that scikit-learn's ``get_scorer`` knows, or a scorer
        ``metric(estimator, X, y)``.
    views : int, default=2
        Views of every image.
    augmentation : Augmentation, default=None
        What draws them; ``None`` is ``Augmentation.cameras()``.
    random_state : int, default=0
        Seed of the views.

    Returns
    -------
    callable
        ``scorer(estimator, X, y_true, sample_weight=None)``, for ``scoring=`` in
        ``GridSearchCV``, ``cross_validate`` and others.

    Raises
    ------
    InvalidParameterError
        If a parameter cannot be used.

    See Also
    --------
    stress_report : Scores of a fitted model under each kind of change.

    Notes
    -----
    It needs images: the scorer raises `DataError` for features, of which there are no views.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from fundus import RidgeHead, TransferClassifier
    >>> y = np.repeat([0, 1, 2], 4)
    >>> X = np.random.default_rng(0).integers(60 * y, 60 * y + 80, (3, 32, 32, 12), np.uint8).T
    >>> model = TransferClassifier("tiny", RidgeHead(), weights="fixed", cache=False)
    >>> scorer = make_view_scorer("qwk", views=1)
    >>> search = GridSearchCV(model, {"head__alpha": [1.0, 1e4]}, scoring=scorer, cv=2)
    >>> sorted(search.fit(X, y).best_params_)
    ['head__alpha']
    """
    scorer = ViewScorer(metric, views, augmentation, random_state)
    scorer.check()
    return scorer


@dataclass(frozen=True)
class ViewScorer:
    """The scorer that `make_view_scorer` returns; its parameters are those of the function."""

    metric: str | Callable[..., float]
    views: int
    augmentation: Augmentation | None
    random_state: int

    def check(self) -> None:
        """Raise `InvalidParameterError` if a parameter cannot be used."""
        owner = "make_view_scorer"
        try:
            known = self._scorer()
        except ValueError:
            known = None
        if not callable(known):
            expected = "'qwk', a scorer, or a name that sklearn.metrics.get_scorer knows"
            raise invalid(owner, "metric", expected, self.metric)
        for name, low in (("views", 1), ("random_state", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
                raise invalid(owner, name, f"an int of at least {low}", value)
        if self.augmentation is not None:
            if not isinstance(self.augmentation, Augmentation):
                raise invalid(owner, "augmentation", "an Augmentation or None", self.augmentation)
            self.augmentation.validate()

    def _scorer(self) -> Any:
        if self.metric == "qwk":
            return kappa_scorer
        return get_scorer(self.metric) if isinstance(self.metric, str) else self.metric

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y_true: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score a fitted estimator on the views of images.

        Raises
        ------
        DataError
            If `X` holds features.
        """
        if not (isinstance(X, Images) or is_image_data(X)):
            raise DataError(
                "make_view_scorer changes images, and X holds features, of which there are no "
                "views: search on the images themselves, with a backbone that is not "
                "'precomputed', whose frozen layers run once for each view."
            )
        augmentation = Augmentation.cameras() if self.augmentation is None else self.augmentation
        images, scorer = as_images(X), self._scorer()
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        scores = []
        for view in range(1, self.views + 1):
            viewed = ViewedImages(
                images.paths,
                images.arrays,
                images.patients,
                images.items,
                np.full(len(images), view),
                augmentation,
                self.random_state,
            )
            scores.append(scorer(estimator, viewed, y_true, **weights))
        return float(np.mean(scores))
