"""Makes the records of a frozen part from an estimator's parameters, with all checks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fundus.backbones.network import Network, all_frozen, pooled_as
from fundus.backbones.pooling import POOL_OVERS, POOLINGS, of_all_stages
from fundus.backbones.stages import stages_text
from fundus.backbones.weights_files import check_format, named_file, refuse_if_out_of_reach
from fundus.data.inputs import Images
from fundus.exceptions import FundusWarning
from fundus.frozen.function import Frozen
from fundus.frozen.loading import load_rows
from fundus.frozen.normaliser import Normaliser, fit_normaliser
from fundus.frozen.ranges import range_problem
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.steps import choose_steps
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe
from fundus.images.circle import APERTURES
from fundus.parameters import check_int, check_option, check_real, invalid
from fundus.plugins.registry import get_registry, list_backbones
from fundus.runtime.given_model import given_instead
from fundus.runtime.identity import probe_batch


def draw_seed(random_state: Any) -> int:
    """Draw the seed of one fit.

    Parameters
    ----------
    random_state : int, RandomState or None
        An int gives the same seed every time; ``None`` a new one, independent of the global
        generator.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def resolve_network(settings: FrozenSettings, *, seed: int) -> Network:
    """Check the parameters that say which network, and return its record.

    Random weights get the seed.

    Raises
    ------
    InvalidParameterError
        If a parameter cannot be used.
    UnknownNameError
        If no backbone has the name.
    WeightsNotAvailableError
        If its pretrained weights are neither here nor to be had.
    BundleError
        If the weights file is of a form that the backbone cannot take.
    """
    backbone = settings.backbone
    if (how := given_instead(backbone)) is not None:
        raise invalid(settings, "backbone", f"a name or a BackboneSpec ({how})", backbone)
    if isinstance(backbone, BackboneSpec):
        spec = backbone
    elif isinstance(backbone, str):
        spec = get_registry().find("backbone", backbone).spec
    else:
        names = ", ".join(list_backbones()[:3])
        raise invalid(settings, "backbone", f"a name ({names}, …) or a BackboneSpec", backbone)
    check_int(settings, "image_size", low=spec.min_image_size, none=True)
    check_option(settings, "pooling", POOLINGS)
    check_option(settings, "pool_over", POOL_OVERS)
    _check_stages(settings)
    check_option(settings, "crop", ("fov", "square", None))
    check_option(settings, "aperture", APERTURES)
    if settings.aperture is not None and settings.crop != "fov":
        expected = f"None unless crop='fov' (crop={settings.crop!r})"
        raise invalid(settings, "aperture", expected, settings.aperture)
    check_real(settings, "power", low=0, high=1, low_open=True, also=(None,))
    weights = _weights(settings, spec)
    return Network(
        backbone=backbone,
        weights=weights,
        image_size=int(settings.image_size or spec.image_size),
        freeze=settings.freeze,
        pooling=settings.pooling,
        seed=seed if weights is None else None,
    )


def _check_stages(settings: FrozenSettings) -> None:
    """Refuse what are no stages, and stages for a pooling of the last map alone."""
    if stages_text(settings, settings.stages) is None or of_all_stages(settings.pooling):
        return
    of_stages = ", ".join(repr(name) for name in POOLINGS if of_all_stages(name))
    expected = f"None unless 'pooling' is one of {of_stages} (pooling={settings.pooling!r})"
    raise invalid(settings, "stages", expected, settings.stages)


def _weights(settings: FrozenSettings, spec: BackboneSpec) -> str | None:
    """The name of pretrained weights, the path of a file that exists, or None."""
    weights = settings.weights
    if weights is None:
        return None
    if isinstance(weights, str) and weights in spec.pretrained:
        refuse_if_out_of_reach(spec, weights)  # before any image is read
        return weights
    path = named_file(weights)
    if path is not None:
        check_format(spec, path)
        return str(path)
    named = "".join(f"{name!r}, " for name in spec.pretrained)
    raise invalid(settings, "weights", f"{named}None or a weights file that exists", weights)


def prepare(settings: FrozenSettings, images: Images, *, seed: int) -> Frozen:
    """Return the frozen part that settings ask for, its normaliser fitted on training images.

    Raises
    ------
    InvalidParameterError
        If a parameter cannot be used, or needs frozen features and layers are trained.

    Warns
    -----
    FutureWarning
        If ``normalise=`` names a photometric step.
    FundusWarning
        If a scale other than the network's own leaves the range of named weights.
    """
    network = resolve_network(settings, seed=seed)
    if settings.freeze != "all" and all_frozen(network):
        network = replace(network, freeze="all")
    if network.freeze != "all":
        _check_trained(settings)
    else:
        stages = stages_text(settings, settings.stages)
        network = pooled_as(network, settings.pool_over, stages)
    recipe = ImageRecipe(network.image_size, settings.crop, settings.aperture)

    def batches() -> Any:
        rows = range(len(images))
        return (batch for _, batch in load_rows(images, rows, recipe, n_jobs=settings.n_jobs))

    photometric, scale = choose_steps(settings, network.spec)
    normaliser = fit_normaliser(scale, batches, photometric=photometric)
    if settings.normalise != "backbone" and network.weights in network.spec.pretrained:
        _warn_of_range(normaliser, network)
    return Frozen(network, recipe, normaliser, settings.power)


def _check_trained(settings: FrozenSettings) -> None:
    """Refuse parameters for frozen features only if layers of the backbone are trained."""
    if of_all_stages(settings.pooling):
        allowed = ", ".join(repr(name) for name in POOLINGS if not of_all_stages(name))
        expected = (
            f"one of {allowed} unless freeze='all', as the stages before the cut are not available "
            f"in training (freeze={settings.freeze!r})"
        )
        raise invalid(settings, "pooling", expected, settings.pooling)
    if settings.pool_over == "fov":
        expected = (
            "'auto' or 'all' unless freeze='all', as the trained layers are given what crosses the "
            f"cut, and no mask of the field of view (freeze={settings.freeze!r})"
        )
        raise invalid(settings, "pool_over", expected, settings.pool_over)
    if settings.power is not None:
        expected = (
            "None unless freeze='all', as the slope of a root is infinite at 0 "
            f"(freeze={settings.freeze!r})"
        )
        raise invalid(settings, "power", expected, settings.power)


def _warn_of_range(normaliser: Normaliser, network: Network) -> None:
    """Warn if a user's scale gives values outside the range of the pretrained weights."""
    size = network.image_size  # a user's function may not take other sizes
    times = -(-size // 32)
    images = np.tile(probe_batch(), (1, times, times, 1))[:, :size, :size]
    own = fit_normaliser(network.spec.normalise, lambda: iter([images]))
    # to a hundredth, since (x - 127) / 128 and x / 127.5 - 1 are nearly equal; a scale that was
    # fitted has the range of its training images, which are not available here
    problem = "" if own.state else range_problem(normaliser, own, images, tolerance=0.01)
    if problem:
        warnings.warn(
            f"With normalise={normaliser.function!r} the network {network.spec.name!r} gets "
            f"{problem} (weights={network.weights!r}): leave 'normalise' out, and pass what "
            "changes light and colour as 'photometric'.",
            FundusWarning,
            stacklevel=4,
        )
