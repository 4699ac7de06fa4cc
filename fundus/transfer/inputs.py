"""The inputs of a head: the plan of the frozen work, and the work itself."""

from __future__ import annotations

from fundus.data.inputs import Images
from fundus.frozen.function import Frozen
from fundus.frozen.prepare import prepare
from fundus.frozen.settings import FrozenSettings
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
from fundus.heads.base import NeuralHead
from fundus.store import Segment
from fundus.transfer.parameters import Parameters
from fundus.transfer.plan import Plan, show_plan
from fundus.transfer.planning import Request, make_plan


def training_source(
    parameters: Parameters, images: Images, frozen: Frozen, seed: int
) -> tuple[Source, Plan]:
    """Return the source that a head trains on, and its plan.

    After the call every image has been read once. The seed is that of the augmentation.
    """
    settings = parameters.frozen
    # where all layers are frozen there is only one plan, and nothing to measure
    measure = settings.freeze != "all" or settings.verbose > 0
    work, request = _request(
        parameters, images, frozen, seed, measure=measure, measure_training=settings.verbose > 0
    )
    plan = make_plan(work, request)
    if settings.verbose:
        show_plan(plan, frozen.key())
    return powered(_follow(plan, work, request, seed), frozen.power), plan


def prediction_source(
    settings: FrozenSettings, images: Images, frozen: Frozen, batch_size: int
) -> Source:
    """Return the source that a fitted head predicts from."""
    work = start_work(settings, images, frozen)
    request = Request(None, 1, batch_size)
    return powered(_follow(make_plan(work, request), work, request, 0), frozen.power)


def plan_fit(parameters: Parameters, images: Images, seed: int) -> Plan:
    """Return the plan of a fit, measured, without the fit."""
    frozen = prepare(parameters.frozen, images, seed=seed)
    return make_plan(
        *_request(parameters, images, frozen, seed, measure=True, measure_training=True)
    )


def _request(
    parameters: Parameters, images: Images, frozen: Frozen, seed: int, **measure: bool
) -> tuple[Work, Request]:
    """The work, on augmented views if there are any, and the request for its plan."""
    samples, training = parameters.samples, parameters.training
    augmentation = samples.augmentation
    neural = isinstance(parameters.head, NeuralHead)
    if augmentation is not None and samples.augment_views:
        images = with_views(images, augmentation, seed, samples.augment_views)
        augmentation = None
    work = start_work(parameters.frozen, images, frozen)
    # the epochs of the head alone need no more than one pass
    epochs = training.epochs - training.warmup_epochs + bool(training.warmup_epochs)
    epochs, each = (epochs, samples.n_views + 1) if neural else (1, 1)
    return work, Request(augmentation, epochs, training.batch_size, each, **measure)


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
