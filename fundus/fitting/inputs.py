"""The inputs of a head: the plan of the frozen work, and the work itself."""

from __future__ import annotations

from typing import Any

from fundus.data.inputs import Images
from fundus.fitting.checks import as_augmentation
from fundus.fitting.plan import Plan, show_plan
from fundus.fitting.planning import Request, make_plan
from fundus.heads.base import Head, NeuralHead
from fundus.networks.frozen import digests, entry_keys, features, tolerating
from fundus.networks.network import Frozen
from fundus.networks.preparation import draw_seed, prepare
from fundus.networks.sources import (
    ArraySource,
    LiveSource,
    Source,
    check_all_decode,
    fill_decoded,
    stored_source,
)
from fundus.networks.views import with_views
from fundus.store import Segment, open_store


def training_source(
    owner: Any, images: Images, frozen: Frozen, head: Head, seed: int
) -> tuple[Source, Plan]:
    """Return what a head trains on, and the plan it follows.

    Every image has been read once when it returns.

    Parameters
    ----------
    owner : TransferClassifier
        Its parameters are the settings.
    images : Images
    frozen : Frozen
    head : Head
    seed : int
        Of the augmentation.

    Returns
    -------
    source : Source
    plan : Plan
    """
    # where all is frozen there is one way to go, and nothing to measure for it
    measure = owner.freeze != "all" or owner.verbose > 0
    images, request = _request(
        owner, images, frozen, head, seed, measure=measure, measure_training=owner.verbose > 0
    )
    plan = make_plan(images, frozen, request)
    if owner.verbose:
        show_plan(plan)
    return _follow(plan, images, frozen, request, seed, owner.verbose), plan


def prediction_source(owner: Any, images: Images, frozen: Frozen) -> Source:
    """Return what a fitted head predicts from.

    Parameters
    ----------
    owner : TransferClassifier
    images : Images
    frozen : Frozen

    Returns
    -------
    Source
    """
    store = open_store(owner.cache)
    names = digests(images, store, n_jobs=owner.n_jobs)
    request = Request(names, None, store, 1, owner.batch_size, owner.n_jobs)
    plan = make_plan(images, frozen, request)
    return _follow(plan, images, frozen, request, 0, owner.verbose)


def plan_fit(owner: Any, images: Images, head: Head) -> Plan:
    """Return the plan of a fit, measured, without the fit.

    Parameters
    ----------
    owner : TransferClassifier
    images : Images
    head : Head

    Returns
    -------
    Plan
    """
    seed = draw_seed(owner.random_state)
    frozen = prepare(owner, images, freeze=owner.freeze, seed=seed)
    images, request = _request(
        owner, images, frozen, head, seed, measure=True, measure_training=True
    )
    return make_plan(images, frozen, request)


def _request(
    owner: Any, images: Images, frozen: Frozen, head: Head, seed: int, **measure: bool
) -> tuple[Images, Request]:
    """The images, with their views where they have some, and what is asked of the plan."""
    augmentation = as_augmentation(owner.augment, owner)
    if augmentation is not None and owner.augment_views:
        images = with_views(images, augmentation, seed, owner.augment_views)
        augmentation = None
    store = open_store(owner.cache)
    names = digests(images, store, n_jobs=owner.n_jobs)
    epochs = owner.epochs if isinstance(head, NeuralHead) else 1
    request = Request(names, augmentation, store, epochs, owner.batch_size, owner.n_jobs, **measure)
    return images, request


def _follow(
    plan: Plan, images: Images, frozen: Frozen, request: Request, seed: int, verbose: int
) -> Source:
    store, n_jobs, names = request.store, request.n_jobs, request.digests
    keys = entry_keys(names)
    if plan.chosen.way == "features":
        return ArraySource(features(images, frozen, store, names, n_jobs=n_jobs, verbose=verbose))
    if plan.chosen.way == "activations":
        assert store is not None
        with tolerating(store):
            return stored_source(images, frozen, store, keys, n_jobs=n_jobs, verbose=verbose)
    decoded: Segment | None = None
    if store is None:
        check_all_decode(images, frozen.recipe, n_jobs=n_jobs)
    else:
        with tolerating(store):
            decoded = fill_decoded(
                images, frozen.recipe, store, keys, n_jobs=n_jobs, verbose=verbose
            )
    augmentation, batch_size = request.augmentation, request.batch_size
    return LiveSource(images, frozen, augmentation, seed, decoded, keys, batch_size, n_jobs)
