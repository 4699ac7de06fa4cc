"""Saves a `TransferClassifier`: its parameters, the frozen part and the trained head."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import metadata
from typing import Any, Self

import numpy as np

from fundus.backbones.network import Network, model_digest, weights_identity
from fundus.exceptions import BundleError, InvalidParameterError
from fundus.frozen.function import Frozen
from fundus.frozen.normaliser import Normaliser, Photometric, normaliser_record
from fundus.frozen.steps import find_photometric, find_scale
from fundus.grades.labels import to_positions
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe
from fundus.plugins.records import Entry
from fundus.plugins.registry import get_registry
from fundus.runtime.keras_objects import weights_bytes
from fundus.runtime.tensorflow import require_tensorflow
from fundus.saving.codec import Decoder, Encoder
from fundus.saving.files import BundleReader, BundleWriter
from fundus.saving.mixin import DECIDED, Saves
from fundus.saving.registered import NO_CODE, find_registered, origin_of
from fundus.training.fitted import FittedEstimator
from fundus.training.tail import Tail
from fundus.transfer.former import renamed


class SavesClassifier(Saves):
    """The frozen part is saved as the names of its parts, a network by its weights."""

    _saved = ("classes_", "grades_", "n_features_in_", *DECIDED)
    _not_saved = ("callbacks", "log_dir", "cache", "n_jobs", "verbose")

    def _to_record(self, encoder: Encoder) -> dict[str, Any]:
        record = super()._to_record(encoder)
        model: Any = self
        record["head"] = _head_record(model.head_, encoder)
        if isinstance(model.head, str):
            record["head_from"] = origin_of(get_registry().find("head", model.head))
        if hasattr(model, "frozen_"):
            record["frozen"] = _frozen_record(model.frozen_, encoder.writer)
        return record

    @classmethod
    def _todays_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        return renamed(params)

    @classmethod
    def _from_record(cls, record: dict[str, Any], decoder: Decoder) -> Self:
        if "head_from" in record:
            find_registered("head", record["head_from"])
        frozen = _frozen_of(record["frozen"], decoder.reader) if "frozen" in record else None
        own = super()._from_record(record, decoder)
        model: Any = own
        if frozen is not None:
            model.frozen_ = frozen
        model._positions = to_positions(model.classes_, model.grades_)
        model.log_dir_ = None
        network = None if frozen is None else frozen.network
        model.head_ = _head_of(record["head"], decoder, network)
        if model.head_.history:
            model.history_ = model.head_.history
        return own


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
        "crop": frozen.recipe.crop,
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


def _frozen_of(record: dict[str, Any], reader: BundleReader) -> Frozen:
    spec = find_registered("backbone", {**record, "name": record["backbone"]})
    weights = record["weights"]
    if "file" in record:
        weights = str((reader.folder / record["file"]).absolute())
    network = Network(
        backbone=record["backbone"],
        weights=weights,
        image_size=record["image_size"],
        freeze=record["freeze"],
        pooling=record["pooling"],
    )
    digest = model_digest(network) if "file" in record else weights_identity(network)
    if digest != record["weights_sha256"]:
        raise BundleError(
            f"The weights {weights!r} of the backbone {spec.name!r} are not those the model was "
            f"trained with ({record['distribution']} {record['version']}): install that version."
        )
    return Frozen(
        network,
        ImageRecipe(record["image_size"], record["crop"]),
        _normaliser_of(record, spec),
        record.get("power"),  # bundles of the first release have none
    )


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
        find_registered("preprocessor", step)
        _check_kind(find_photometric, step)
        photometric = Photometric(step["name"], _state(step["state"]))
    return Normaliser(scale, _state(record["state"]), photometric)


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


def _state(pairs: list[list[Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in pairs)


def _head_record(head: Any, encoder: Encoder) -> dict[str, Any]:
    if isinstance(head, FittedEstimator):
        return {
            "kind": "estimator",
            "file": encoder.writer.estimator(head.estimator),
            "n_grades": head.n_grades,
            "is_regressor": head.is_regressor,
            "residual_std": head.residual_std,
        }
    # numpy files cannot hold bfloat16; float32 holds all of its numbers
    known = (np.asarray(w) for w in head.network().get_weights())
    weights = [w if w.dtype.kind == "f" else w.astype(np.float32) for w in known]
    tail = head.tail
    return {
        "kind": "net",
        "head": encoder.value(tail.head, "head"),
        "n_grades": tail.n_grades,
        "n_features": tail.n_features,
        "history": head.history,
        "residual_std": head.residual_std,
        "weights": encoder.writer.arrays({f"w{k:04d}": w for k, w in enumerate(weights)}),
        "dtype_policy": tail.dtype_policy,
    }


def _head_of(record: dict[str, Any], decoder: Decoder, network: Network | None) -> Any:
    std = record.get("residual_std")  # older bundles have none, and keep their probabilities
    if record["kind"] == "estimator":
        return FittedEstimator(
            decoder.reader.estimator(record["file"]),
            record["n_grades"],
            record["is_regressor"],
            std,
        )
    require_tensorflow()  # before the module of the training, which imports Keras
    from fundus.training.trainer import trained_net

    width = record["n_features"]
    tail = Tail(
        decoder.value(record["head"]),
        record["n_grades"],
        width,
        network if width is None else None,
        record.get("dtype_policy", "float32"),  # bundles of the first release have none
    )
    arrays = decoder.reader.arrays(record["weights"])
    weights = [arrays[name] for name in sorted(arrays)]
    return dataclasses.replace(trained_net(tail, weights, record["history"]), residual_std=std)
