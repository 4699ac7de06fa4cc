"""The inputs of a head: the plan of the frozen work, and the work itself."""

from __future__ import annotations

from typing import Any

from fundus.data.inputs import Images
from fundus.frozen.function import Frozen
from fundus.frozen.prepare import draw_seed, prepare
from fundus.frozen.sources import (
    ArraySource,
    LiveSource,
    Source,
    check_all_decode,
    fill_decoded,
    powered,
    stored_source,
)
from fundus.frozen.views import with_views
from fundus.frozen.work import Work, features, start_work, tolerating
from fundus.heads.base import Head, NeuralHead
from fundus.store import Segment, open_store
from fundus.transfer.parameters import as_augmentation
from fundus.transfer.plan import Plan, show_plan
from fundus.transfer.planning import Request, make_plan


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
    work, request = _request(
        owner, images, frozen, head, seed, measure=measure, measure_training=owner.verbose > 0
    )
    plan = make_plan(work, request)
    if owner.verbose:
        show_plan(plan)
    return powered(_follow(plan, work, request, seed), frozen.power), plan


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
    work = start_work(images, frozen, store, n_jobs=owner.n_jobs, verbose=owner.verbose)
    request = Request(None, 1, owner.batch_size)
    return powered(_follow(make_plan(work, request), work, request, 0), frozen.power)


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
    work, request = _request(owner, images, frozen, head, seed, measure=True, measure_training=True)
    return make_plan(work, request)


def _request(
    owner: Any, images: Images, frozen: Frozen, head: Head, seed: int, **measure: bool
) -> tuple[Work, Request]:
    """The work, on views of the images where they have some, and what is asked of its plan."""
    augmentation = as_augmentation(owner.augment, owner)
    if augmentation is not None and owner.augment_views:
        images = with_views(images, augmentation, seed, owner.augment_views)
        augmentation = None
    store = open_store(owner.cache)
    work = start_work(images, frozen, store, n_jobs=owner.n_jobs, verbose=owner.verbose)
    epochs = owner.epochs if isinstance(head, NeuralHead) else 1
    return work, Request(augmentation, epochs, owner.batch_size, **measure)


def _follow(plan: Plan, work: Work, request: Request, seed: int) -> Source:
    """Do the frozen work as planned."""
    if plan.chosen.way == "features":
        return ArraySource(features(work))
    if plan.chosen.way == "activations":
        assert work.store is not None
        with tolerating(work.store):
            return stored_source(work)
    decoded: Segment | None = None
    if work.store is None:
        check_all_decode(work.images, work.frozen.recipe, n_jobs=work.n_jobs)
    else:
        with tolerating(work.store):
            decoded = fill_decoded(work)
    return LiveSource(
        work.images,
        work.frozen,
        request.augmentation,
        seed,
        decoded,
        work.keys,
        request.batch_size,
        work.n_jobs,
    )
