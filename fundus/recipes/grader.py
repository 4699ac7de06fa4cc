"""`make_grader`: the default recipe as an estimator; and estimators of the values of any recipe."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from fundus.frozen.prepare import draw_seed
from fundus.images.augment import Augmentation
from fundus.meta.cutpoints import TunedCutpointClassifierCV
from fundus.parameters import invalid
from fundus.recipes.table import DEFAULT, INNER_FOLDS, RECIPES
from fundus.transfer.classifier import TransferClassifier
from fundus.transfer.parameters import make_head

#: Values of a recipe that are no parameters of `TransferClassifier`.
_AROUND = ("cutpoints", "distribution", "n_bootstraps")
#: Prefix of parameters of the head.
OF_HEAD = "head__"


def make_grader(
    grades: Any = 5, *, random_state: Any = None
) -> TransferClassifier | TunedCutpointClassifierCV:
    """Make the grader that is recommended to start with, as an unfitted estimator.

    It is the recipe that ``fundus train`` uses, of which docs/recipes.md gives the values and the
    reasons: a frozen EfficientNet-Lite0 that looks at each photograph as it is and as other cameras
    might have taken it, ridge regression, and cutpoints from out-of-fold severities. All parameters
    can be seen, set and searched, such as ``estimator__image_size`` and ``estimator__head__alpha``.

    Parameters
    ----------
    grades : int or sequence, default=5
        The scale: its length, or its labels, lowest first.
    random_state : int, RandomState or None, default=None
        Seed of everything random: the views of the photographs, folds, resamples. Of ``None`` one
        is drawn here, once, so that clones and later fits share the views that are kept; with a
        number, processes that are started later share them too.

    Returns
    -------
    classifier
        It takes images, as `TransferClassifier` does.

    See Also
    --------
    FoldEnsemble : Cross-validate it, and average the models of the folds.

    Examples
    --------
    >>> grader = make_grader(["none", "mild", "severe"], random_state=0)
    >>> grader.set_params(estimator__backbone="tiny", estimator__weights="fixed").estimator.grades
    ['none', 'mild', 'severe']
    """
    fixed = isinstance(random_state, numbers.Integral)
    seed = random_state if fixed else draw_seed(random_state)
    values = RECIPES[DEFAULT].values
    classifier = make_classifier(values, grades=grades, random_state=seed)
    return with_cutpoints(classifier, values, random_state=seed)


def make_classifier(values: Mapping[str, Any], **more: Any) -> TransferClassifier:
    """Make the classifier inside a grader.

    Parameters
    ----------
    values : mapping
        As of a `Recipe`.
    **more
        Other parameters of `TransferClassifier`.

    Raises
    ------
    UnknownNameError
        If no head has the name.
    InvalidParameterError
        If the head does not have a parameter that is given for it.
    """
    own = {
        name: value
        for name, value in values.items()
        if name not in _AROUND and not name.startswith(OF_HEAD)
    }
    if "augment" in own:
        own["augment"] = _augmentation(own["augment"])
    classifier = TransferClassifier(**own, **more)
    given = {
        name: value
        for name, value in values.items()
        if name.startswith(OF_HEAD) and value is not None  # the head's own
    }
    if not given:
        return classifier
    # a head that needs nothing set keeps its name
    has = make_head(classifier.head, classifier).get_params()
    for name, value in given.items():
        short = name.removeprefix(OF_HEAD)
        if has.get(short, 0.0 if short == "view_strength" else None) == value:
            continue
        if short not in has:
            expected = f"left out for the head {classifier.head!r}, which has no such parameter"
            raise invalid(classifier, short, expected, value)
        classifier.set_params(**{name: value})
    return classifier


def with_cutpoints(
    classifier: TransferClassifier, values: Mapping[str, Any], *, random_state: Any
) -> TransferClassifier | TunedCutpointClassifierCV:
    """Return a classifier with cutpoints around it, if the values of a recipe say so."""
    if not values.get("cutpoints"):
        return classifier
    return TunedCutpointClassifierCV(
        classifier,
        cv=INNER_FOLDS,
        distribution=values.get("distribution", "empirical"),
        n_bootstraps=values.get("n_bootstraps", 0),
        random_state=random_state,
    )


def _augmentation(name: str) -> Augmentation | bool | None:
    if name == "cameras":
        return Augmentation.cameras()
    return {"none": None, "warp": True}[name]
