"""Saves a `TransferClassifier`: its parameters, the frozen part and the trained head."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import metadata
from typing import Any, ClassVar, Self

import numpy as np

from fundus.backbones.network import Network, model_digest, weights_identity
from fundus.backbones.pooling import POOLINGS
from fundus.backbones.stages import is_stages_text
from fundus.exceptions import BundleError, InvalidParameterError
from fundus.frozen.function import Frozen
from fundus.frozen.normaliser import Normaliser, Photometric, normaliser_record
from fundus.frozen.settings import FrozenSettings
from fundus.frozen.steps import find_photometric, find_scale
from fundus.grades.labels import grade_scale, to_positions
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe
from fundus.images.circle import APERTURES
from fundus.plugins.records import Entry
from fundus.plugins.registry import get_registry
from fundus.runtime.keras_objects import weights_bytes
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.files import BundleReader, BundleWriter
from fundus.saving.mixin import DECIDED, Saves
from fundus.saving.registered import NO_CODE, find_registered, origin_of
from fundus.saving.schema import (
    CLASSES,
    COUNT,
    SCALE,
    TEXT,
    Field,
    check_fields,
    count,
    is_number,
    is_text,
    number,
    option,
    require,
    wrong,
)
from fundus.training.settings import TrainingSettings
from fundus.transfer.former import renamed
from fundus.transfer.parameters import SampleSettings, is_precomputed
from fundus.transfer.saved_heads import head_parts, read_head, width_of


def _is_state(pairs: Any) -> bool:
    """Whether a value is what a fitted step knows: numbers, or rows of numbers, by name."""
    return isinstance(pairs, list) and all(
        isinstance(pair, list)
        and len(pair) == 2
        and is_text(pair[0])
        and (is_number(pair[1]) or (isinstance(pair[1], list) and all(map(is_number, pair[1]))))
        for pair in pairs
    )


#: Largest input of a network that is loaded, in pixels: a batch of larger ones fills no memory.
MOST_PIXELS = 8192

#: What the record of the frozen layers must hold.
_FROZEN = {
    "backbone": TEXT,
    "distribution": TEXT,
    "version": TEXT,
    "weights": TEXT.or_none,
    "weights_sha256": TEXT,
    "image_size": count(1, MOST_PIXELS),
    "freeze": Field(
        "'all', a name or a number", lambda v: is_text(v) or is_number(v, 0, 1_000_000)
    ),
    "pooling": option(*POOLINGS),
    "pool_over": option("all", "fov").or_absent,
    "stages": Field("numbers of stages", is_stages_text).or_none.or_absent,
    "crop": option("fov", "square", None),
    "aperture": option(*APERTURES).or_absent,
    "power": number(0, 1).or_none.or_absent,
    "normalise": TEXT,
    "normaliser_from": TEXT,
    "normaliser_version": TEXT.or_absent,
    "state": Field("names with their numbers", _is_state),
    "file": TEXT.or_absent,
}


#: What the record of a photometric step must hold.
_PHOTOMETRIC = {name: _FROZEN[name] for name in ("distribution", "version", "state")}
_PHOTOMETRIC["name"] = TEXT


class SavesClassifier(Saves):
    """The frozen part is saved as the names of its parts, a network by its weights."""

    _saved: ClassVar[Collection[str]] = {
        "classes_": CLASSES,
        "grades_": SCALE,
        "n_features_in_": COUNT.or_absent,
        **DECIDED,
    }
    _not_saved = ("callbacks", "log_dir", "cache", "n_jobs", "verbose")

    def _to_record(self, encoder: Encoder) -> dict[str, Any]:
        record = super()._to_record(encoder)
        model: Any = self
        record["head"] = head_parts(model.head_, encoder)
        if isinstance(model.head, str):
            record["head_from"] = origin_of(get_registry().find("head", model.head))
        if hasattr(model, "frozen_"):
            record["frozen"] = _frozen_record(model.frozen_, encoder.writer)
        return record

    @classmethod
    def _todays_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        # models of earlier releases were pooled over all positions, and say so if they are cloned
        return renamed({"pool_over": "all"} | params)

    @classmethod
    def _from_record(cls, record: dict[str, Any], decoder: Decoder) -> Self:
        if "head_from" in record:
            find_registered("head", record["head_from"])
        frozen = _frozen_of(record["frozen"], decoder.reader) if "frozen" in record else None
        own = super()._from_record(record, decoder)
        model: Any = own
        if frozen is not None:
            model.frozen_ = frozen
        model._positions = to_positions(model.classes_, model.grades_, name="classes_")
        model.log_dir_ = None
        network = None if frozen is None else frozen.network
        model.head_ = read_head(record.get("head"), decoder, network, model)
        if model.head_.history:
            model.history_ = model.head_.history
        return own

    def _check_saved(self) -> None:
        super()._check_saved()
        model: Any = self
        precomputed = is_precomputed(model.backbone)
        frozen, width = getattr(model, "frozen_", None), width_of(model.head_)
        expected = "absent" if precomputed else "the frozen layers"
        require((frozen is None) == precomputed, self, "frozen", expected, frozen)
        found = getattr(model, "n_features_in_", width)
        if precomputed and width is not None:
            require(found == width, self, "n_features_in_", f"{width}, as of the head", found)
        given = model.grades
        if given is not None:
            same = np.array_equal(grade_scale(given), model.grades_)
            require(same, self, "grades_", f"the scale {given}", model.grades_)
        FrozenSettings.of(self)
        SampleSettings.of(self).check()
        TrainingSettings.of(self).check()


def _frozen_record(frozen: Frozen, writer: BundleWriter) -> dict[str, Any]:
    network, normaliser = frozen.network, frozen.normaliser
    if not isinstance(network.backbone, str):
        raise BundleError(NO_CODE.format(network.backbone.name))
    entry = get_registry().find("backbone", network.backbone)
    by_name = network.weights in network.spec.pretrained
    record = {
        "backbone": entry.lasting_name,
        "distribution": entry.distribution,
        "version": metadata.version(entry.distribution),
        "weights": network.weights if by_name else None,
        # a weights file is identified by its digest, so that saving and loading build no network
        "weights_sha256": weights_identity(network) if by_name else model_digest(network),
        "image_size": network.image_size,
        "freeze": network.freeze,
        "pooling": network.pooling,
        "pool_over": network.pool_over,
        "stages": network.stages,
        "crop": frozen.recipe.crop,
        "aperture": frozen.recipe.aperture,
        "power": frozen.power,
        **normaliser_record(normaliser, network.spec),
    }
    if not by_name:
        # random weights, and files that may move, are saved with it; folds share one copy
        file = writer.folder / f"backbone-{record['weights_sha256'][:16]}.weights.h5"
        if not file.exists():
            file.write_bytes(weights_bytes(network.build()))
        record["file"] = file.name
    return record


def _frozen_of(record: Any, reader: BundleReader) -> Frozen:
    record = record if isinstance(record, dict) else {}
    check_fields("frozen layers", _FROZEN, record)
    spec = find_registered("backbone", {**record, "name": record["backbone"]})
    size, low = record["image_size"], spec.min_image_size
    if size < low:
        raise wrong("frozen layers", "image_size", f"at least {low} pixels", size)
    weights, digest = record["weights"], None
    if "file" in record:
        # the digest goes with the path, as the file is read again whenever the network is built
        weights, digest = reader.path(record["file"])
        reader.read(record["file"])
    elif weights not in spec.pretrained:
        raise wrong("frozen layers", "weights", f"one of {sorted(spec.pretrained)}", weights)
    network = Network(
        backbone=record["backbone"],
        weights=weights,
        image_size=record["image_size"],
        freeze=record["freeze"],
        pooling=record["pooling"],
        sha256=digest,
        pool_over=record.get("pool_over", "all"),  # bundles of earlier releases have none
        stages=record.get("stages"),
    )
    found = model_digest(network) if "file" in record else weights_identity(network)
    if found != record["weights_sha256"]:
        raise BundleError(
            f"The weights {weights!r} of the backbone {spec.name!r} are not those the model was "
            f"trained with ({record['distribution']} {record['version']}): install that version."
        )
    return Frozen(
        network,
        _recipe_of(record),
        _normaliser_of(record, spec),
        record.get("power"),  # bundles of the first release have none
    )


def _recipe_of(record: dict[str, Any]) -> ImageRecipe:
    crop, aperture = record["crop"], record.get("aperture")  # earlier releases had no aperture
    if aperture is not None and crop != "fov":
        raise wrong("frozen layers", "aperture", f"None where crop is {crop!r}", aperture)
    return ImageRecipe(record["image_size"], crop, aperture)


def _normaliser_of(record: dict[str, Any], spec: BackboneSpec) -> Normaliser:
    scale = spec.normalise if record["normalise"] == "backbone" else record["normalise"]
    if isinstance(scale, str):
        where = {"name": scale, "distribution": record["normaliser_from"]}
        where["version"] = record.get("normaliser_version", "")
        find_registered("preprocessor", where)
        _check_kind(find_scale, where)
    step = record.get("photometric")  # bundles of format 1 have none
    photometric = None
    if step is not None:
        check_fields("photometric step", _PHOTOMETRIC, step if isinstance(step, dict) else {})
        find_registered("preprocessor", step)
        _check_kind(find_photometric, step)
        photometric = Photometric(step["name"], _state(step["state"]))
    normaliser = Normaliser(scale, _state(record["state"]), photometric)
    _try(normaliser, record["image_size"])
    return normaliser


def _try(normaliser: Normaliser, image_size: int) -> None:
    """Run steps that are fitted on a black image, as what they know may not be what they take."""
    scale, step = normaliser.function, normaliser.photometric
    fitted = bool(normaliser.state) or (step is not None and bool(step.state))
    if isinstance(scale, str):
        fitted |= find_scale(scale).spec.fit is not None
    if step is not None and isinstance(step.function, str):
        fitted |= find_photometric(step.function).spec.fit is not None
    size = min(image_size, 64)
    if fitted:
        normaliser.apply(np.zeros((1, size, size, 3), dtype=np.uint8))


def _check_kind(find: Callable[[str], Entry], where: dict[str, Any]) -> None:
    """Refuse a preprocessor that has changed its kind since the model was saved."""
    try:
        find(where["name"])
    except InvalidParameterError as error:
        raise BundleError(
            f"The model needs the preprocessor {where['name']!r} of {where['distribution']} "
            f"{where['version']}, and the one installed is of another kind: install that version. "
            f"({error})"
        ) from error


def _state(pairs: Any) -> tuple[tuple[str, Any], ...]:
    if not _is_state(pairs):
        raise wrong("frozen layers", "state", "names with their numbers", pairs)
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in pairs)
