"""Which values of a recipe the other values leave no use for, such as a head that was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fundus.backbones.network import Network
from fundus.backbones.pooling import maps_to_pool, of_all_stages, refuse_without_positions
from fundus.backbones.stages import stages_text
from fundus.exceptions import InvalidParameterError
from fundus.heads.base import EstimatorHead, NeuralHead
from fundus.plugins.records import BUILTIN
from fundus.plugins.registry import get_registry
from fundus.recipes.grader import OF_HEAD
from fundus.transfer.parameters import OF_NEURAL_HEADS, make_head
from fundus.transfer.view_rows import check_takes_views

if TYPE_CHECKING:
    import keras

    from fundus.hookspecs import BackboneSpec

_STRENGTH = f"{OF_HEAD}view_strength"


@dataclass
class Fitting:
    """Values of a grader, of which those by a recipe give way to the others.

    Parameters
    ----------
    values : dict of str to object
        All of them, as of a `Recipe`; changed in place.
    by_recipe : set of str
        Names of those that the recipe gives and nobody else.
    plain : mapping of str to object
        What stands instead of a value that is left out; nothing where it has none.
    left_out : dict of str to str
        Names of values that were left out, and why.
    """

    values: dict[str, Any]
    by_recipe: set[str]
    plain: Mapping[str, Any]
    left_out: dict[str, str]

    def leave_out(self, name: str, why: str) -> None:
        """Replace a value by the plain one, if it is the recipe's and another one."""
        if name not in self.by_recipe or name in self.left_out:
            return
        if name in self.plain and self.values[name] == self.plain[name]:
            return
        self.left_out[name] = why
        if name in self.plain:
            self.values[name] = self.plain[name]
        else:
            del self.values[name]


def leave_out(
    values: Mapping[str, Any],
    by_recipe: set[str],
    plain: Mapping[str, Any],
    *,
    calibrated: bool = False,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Leave out what a recipe says and the values that were given cannot use.

    Values that were given stay: those that cannot be used are errors of the fit.

    Parameters
    ----------
    values : mapping of str to object
        All values of a grader, as of a `Recipe`.
    by_recipe : set of str
        Names of those that the recipe gives and nobody else.
    plain : mapping of str to object
        What stands instead of a value that is left out.
    calibrated : bool, default=False
        Whether probabilities are calibrated, which leaves no place for cutpoints.

    Returns
    -------
    values : dict of str to object
    left_out : dict of str to str
        Names of values that were left out, and why.

    Raises
    ------
    UnknownNameError
        If no head or backbone has the name.
    InvalidParameterError
        If layers are to be trained, and the recipe's head cannot.

    Examples
    --------
    >>> values = {"backbone": "tiny", "head": "relu", "freeze": "all", "head__view_strength": 1.0}
    >>> values |= {"pooling": "avg", "stages": None, "augment": "warp", "augment_views": 2}
    >>> _, why = leave_out(values, {"head__view_strength"}, {"head__view_strength": 0.0})
    >>> why
    {'head__view_strength': "the head 'relu' has no such parameter"}
    """
    fitting = Fitting(dict(values), by_recipe, plain, {})
    _by_freeze(fitting)
    _by_backbone(fitting)
    _by_views(fitting)
    _by_cutpoints(fitting, calibrated)
    return fitting.values, fitting.left_out


def _by_freeze(fitting: Fitting) -> None:
    """What needs frozen layers, or layers that are trained."""
    values, name = fitting.values, fitting.values["head"]
    head = make_head(name, "TransferClassifier")
    if head.needs_frozen and values["freeze"] != "all":
        fitting.leave_out("freeze", f"the head {name!r} cannot train a backbone")
        if "freeze" not in fitting.by_recipe and "head" in fitting.by_recipe:
            raise InvalidParameterError(
                f"The recipe's head, {name!r}, cannot train layers of the backbone, and "
                f"freeze={values['freeze']!r} leaves some to train: give a neural head too, such "
                "as 'softmax', or choose another recipe."
            )
    if not isinstance(head, NeuralHead):
        for neural in OF_NEURAL_HEADS:
            fitting.leave_out(neural, f"the head {name!r} is fitted by scikit-learn")
    if values["freeze"] != "all":
        why = "it needs all layers frozen"
        if of_all_stages(values["pooling"]):
            fitting.leave_out("pooling", why)
        fitting.leave_out("power", why)
        if values.get("pool_over") == "fov":
            fitting.leave_out("pool_over", why)
    _by_pooling(fitting)


def _by_pooling(fitting: Fitting) -> None:
    if not of_all_stages(fitting.values["pooling"]):
        fitting.leave_out("stages", f"pooling {fitting.values['pooling']!r} has no stages")


def _by_backbone(fitting: Fitting) -> None:
    """What needs maps of several sizes, or with a height and a width."""
    values, name = fitting.values, fitting.values["backbone"]
    entry = get_registry().find("backbone", name)
    # the zoo's networks all have both
    if entry.plugin == BUILTIN or values["freeze"] != "all":
        return
    if not {"pooling", "stages", "pool_over"} & fitting.by_recipe:
        return
    model = _built(fitting, entry.spec)
    try:
        maps_to_pool(model, values["pooling"], stages_text("", values["stages"]))
    except InvalidParameterError:
        fitting.leave_out("pooling", f"the backbone {name!r} has no such stages")
        _by_pooling(fitting)
    if values.get("pool_over") == "fov" and "pool_over" in fitting.by_recipe:
        try:
            _, maps = maps_to_pool(model, values["pooling"], stages_text("", values["stages"]))
            refuse_without_positions(model, maps)
        except InvalidParameterError:
            fitting.leave_out("pool_over", f"maps of the backbone {name!r} have no positions")


def _built(fitting: Fitting, spec: BackboneSpec) -> keras.Model:
    """Build a network; a size of the recipe's that it cannot have is left out."""

    def built(size: int) -> keras.Model:
        return Network(
            backbone=spec.name, weights=None, image_size=size, freeze="all", pooling="avg", seed=0
        ).build()

    try:
        return built(fitting.values["image_size"] or spec.image_size)
    except InvalidParameterError:
        if "image_size" not in fitting.by_recipe:
            raise
    fitting.leave_out("image_size", f"the backbone {spec.name!r} cannot have it")
    return built(spec.image_size)


def _by_views(fitting: Fitting) -> None:
    """Views of images, and what compares features among them."""
    values, name = fitting.values, fitting.values["head"]
    head = make_head(name, "TransferClassifier")
    if values["augment"] == "none":
        fitting.leave_out("augment_views", "no image is changed")
    if isinstance(head, EstimatorHead):
        # as in a fit; the counts stand for any that are enough
        made = head.make_estimator(grade_counts=np.full(2, 100), random_state=0)
        try:
            check_takes_views(made, values.get("augment_views") or 0)
        except InvalidParameterError:
            fitting.leave_out("augment_views", f"the head {name!r} takes no weights of images")
        if not values.get("augment_views"):
            why = f"the head {name!r} is fitted once, and there are no augment_views"
            fitting.leave_out("augment", why)
    if not values.get("augment_views"):
        fitting.leave_out(_STRENGTH, "there are no views")
    has = head.get_params()
    for parameter in [key for key in values if key.startswith(OF_HEAD)]:
        if parameter.removeprefix(OF_HEAD) not in has:
            fitting.leave_out(parameter, f"the head {name!r} has no such parameter")
        elif parameter != _STRENGTH and "head" not in fitting.by_recipe:
            fitting.leave_out(parameter, "it is of the recipe's own head")


def _by_cutpoints(fitting: Fitting, calibrated: bool) -> None:
    """Cutpoints, and what they are the median of."""
    if calibrated:
        fitting.leave_out("cutpoints", "calibrated probabilities predict the most probable grade")
    if not fitting.values.get("cutpoints"):
        fitting.leave_out("distribution", "there are no cutpoints")
        fitting.leave_out("n_bootstraps", "there are no cutpoints")
    name = fitting.values["head"]
    if not make_head(name, "TransferClassifier").is_regressor:
        why = f"severities by the head {name!r}, which tells grades apart, are not normal"
        fitting.leave_out("distribution", why)
