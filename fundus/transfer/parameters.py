"""The parameters of `TransferClassifier`, checked before any work."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, clone

from fundus.exceptions import InvalidParameterError
from fundus.heads.base import Head
from fundus.heads.sklearn_heads import EstimatorAsHead
from fundus.images.augment import Augmentation
from fundus.parameters import check_int, check_option, check_real, invalid
from fundus.plugins.registry import PRECOMPUTED, get_registry
from fundus.transfer.sampling import SAMPLINGS, make_sampler


def is_precomputed(backbone: Any) -> bool:
    """Whether ``X`` holds 2-D features."""
    return isinstance(backbone, str) and backbone == PRECOMPUTED


def make_head(head: Any, owner: object) -> Head:
    """Return a fresh, unfitted head for a ``head=`` parameter.

    Parameters
    ----------
    head : str, Head, classifier or regressor
    owner : object
        The estimator, named in errors.

    Returns
    -------
    Head

    Raises
    ------
    UnknownNameError
        If no head goes by the name.
    InvalidParameterError
        If `head` is none of these.
    """
    if isinstance(head, str):
        made = get_registry().find("head", head).spec.make()
        return made if isinstance(made, Head) else EstimatorAsHead(made)
    if isinstance(head, Head):
        return clone(head)
    if isinstance(head, BaseEstimator) and not isinstance(head, type):
        return EstimatorAsHead(clone(head))
    raise invalid(
        owner,
        "head",
        "a registered name, a head object, or a scikit-learn classifier or regressor",
        head,
    )


def with_head_object(owner: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Put a head object in the place of a head's name where parameters of the head are set.

    Parameters
    ----------
    owner : TransferClassifier
    params : dict
        As ``set_params`` takes it.

    Returns
    -------
    dict
        With ``"head"``, a fresh object, where a ``head__…`` is in it and the head goes by name.

    Raises
    ------
    UnknownNameError
        If no head goes by the name.
    """
    head = params.get("head", owner.head)
    if not isinstance(head, str) or not any(name.startswith("head__") for name in params):
        return params
    return {**params, "head": get_registry().find("head", head).spec.make()}


def as_augmentation(augment: Any, owner: object) -> Augmentation | None:
    """Return the augmentation an ``augment=`` parameter means; True is the default one."""
    if augment is None or augment is False:
        return None
    if augment is True:
        return Augmentation()
    if isinstance(augment, Augmentation):
        return augment
    raise invalid(owner, "augment", "an Augmentation, a bool or None", augment)


def head_is_regressor(owner: Any) -> bool:
    """Whether the head predicts a severity; no for one that `check_parameters` will refuse."""
    try:
        return make_head(owner.head, owner).is_regressor
    except ValueError:  # reported by fit, not by a question about tags
        return False


def head_assumes_order(owner: Any) -> bool:
    """Whether classes without an order are hard for the head, as for every regressor."""
    try:
        head = make_head(owner.head, owner)
    except ValueError:  # as above
        return False
    return head.is_regressor or head.assumes_order


def has_proba(owner: Any) -> bool:
    """Whether a `TransferClassifier` offers ``predict_proba``, before and after it is fitted."""
    if hasattr(owner, "head_"):
        return bool(owner.head_.has_proba)
    if head_is_regressor(owner) or isinstance(owner.head, str):
        return True
    inner = owner.head.estimator if isinstance(owner.head, EstimatorAsHead) else owner.head
    return (
        not isinstance(inner, BaseEstimator)
        or isinstance(inner, Head)
        or (hasattr(inner, "predict_proba"))
    )


def check_parameters(owner: Any) -> Head:
    """Raise for the first parameter that cannot be used.

    Parameters
    ----------
    owner : TransferClassifier

    Returns
    -------
    Head
        A fresh head.

    Raises
    ------
    InvalidParameterError
        In scikit-learn's words.
    """
    check_int(owner, "batch_size", low=1)
    check_int(owner, "epochs", low=1)
    check_int(owner, "patience", low=1, none=True)
    check_int(owner, "lr_patience", low=1)
    check_int(owner, "verbose", low=0)
    check_int(owner, "augment_views", low=1, none=True)
    check_real(owner, "learning_rate", low=0, low_open=True, also=("auto",))
    check_real(owner, "validation_fraction", low=0, high=0.5)
    check_real(owner, "beta_1", low=0, high=1, high_open=True)
    check_real(owner, "beta_2", low=0, high=1, high_open=True)
    check_real(owner, "epsilon", low=0, low_open=True)
    check_real(owner, "lr_factor", low=0, high=1, low_open=True, high_open=True)
    check_real(owner, "min_learning_rate", low=0)
    check_option(owner, "duplicates", ("error", "allow"))
    check_option(owner, "sampling", SAMPLINGS)
    if owner.sampling is not None:
        make_sampler(owner.sampling, 0)  # whether it is installed is told before any work
    augmentation = as_augmentation(owner.augment, owner)
    if is_precomputed(owner.backbone) and (
        augmentation is not None or owner.freeze != "all" or owner.power is not None
    ):
        raise InvalidParameterError(
            "backbone='precomputed' takes features as they are, so 'augment' and 'power' must be "
            f"None and 'freeze' 'all'. Got augment={owner.augment!r}, power={owner.power!r} and "
            f"freeze={owner.freeze!r} instead."
        )
    if owner.augment_views and augmentation is None:
        expected = "an Augmentation or True where augment_views is given"
        raise invalid(owner, "augment", expected, owner.augment)
    head = make_head(owner.head, owner)
    _check_needs(owner, head, augmentation)
    return head


def _check_needs(owner: Any, head: Head, augmentation: Augmentation | None) -> None:
    if not head.needs_frozen:
        return
    if owner.freeze != "all":
        expected = f"'all' for the head {owner.head!r}, which cannot train a backbone"
        raise invalid(owner, "freeze", expected, owner.freeze)
    if augmentation is not None and not owner.augment_views:
        expected = (
            f"None for the head {owner.head!r}, which is fitted once, unless augment_views says "
            "how many augmented views of each image it is fitted on"
        )
        raise invalid(owner, "augment", expected, owner.augment)
