"""A fitted `TransferClassifier` to a plain record and files, and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from fundus.backbones.network import Network, model_digest, weights_identity
from fundus.exceptions import BundleError, InvalidParameterError, UnknownNameError
from fundus.frozen.function import Frozen
from fundus.frozen.normaliser import Normaliser, Photometric, normaliser_record
from fundus.frozen.steps import find_photometric, find_scale
from fundus.grades.labels import to_positions
from fundus.heads.base import Head
from fundus.hookspecs import BackboneSpec
from fundus.images import ImageRecipe
from fundus.images.augment import Augmentation
from fundus.plugins.registry import OWN, Entry, Kind, canonical, get_registry
from fundus.runtime.keras_objects import as_config
from fundus.saving.files import Reader, Writer
from fundus.saving.meta import labels_of, labels_record
from fundus.training.fitted import FittedEstimator
from fundus.transfer.classifier import TransferClassifier
from fundus.transfer.former import renamed


def write_classifier(model: TransferClassifier, writer: Writer) -> dict[str, Any]:
    """Turn a fitted classifier into a record, and write its arrays."""
    if not hasattr(model, "head_"):
        raise BundleError("Only a fitted TransferClassifier can be saved: call fit first.")
    record: dict[str, Any] = {
        "kind": "TransferClassifier",
        "params": _write_params(model, writer),
        "classes": labels_record(model.classes_),
        "scale": labels_record(model.grades_),
        "head": _write_head(model.head_, writer),
    }
    if isinstance(model.head, str):
        record["head_from"] = _origin(get_registry().find("head", model.head))
    if hasattr(model, "n_features_in_"):
        record["n_features_in"] = int(model.n_features_in_)
    if hasattr(model, "frozen_"):
        record["frozen"] = _write_frozen(model.frozen_, writer)
    return record


def read_classifier(record: dict[str, Any], reader: Reader) -> TransferClassifier:
    """Build a fitted classifier from its record."""
    if "head_from" in record:
        _find("head", record["head_from"])
    frozen = _read_frozen(record["frozen"], reader) if "frozen" in record else None
    model = TransferClassifier(**_read_params(record["params"], reader))
    if frozen is not None:
        model.frozen_ = frozen
    if "n_features_in" in record:
        model.n_features_in_ = record["n_features_in"]
    model.classes_ = labels_of(record["classes"])
    model.grades_ = labels_of(record["scale"])
    model._places = to_positions(model.classes_, model.grades_)
    model.log_dir_ = None
    model.head_ = _read_head(record["head"], reader, None if frozen is None else frozen.network)
    if model.head_.history:
        model.history_ = model.head_.history
    return model


#: Parameters of a run, not of a model; a loaded model has their defaults.
_NOT_SAVED = ("callbacks", "log_dir", "cache", "n_jobs", "verbose")


_NO_CODE = (
    "The backbone {!r} was given as a BackboneSpec, which cannot be saved without code: register "
    "it through a plugin and pass its name."
)


def _write_params(model: TransferClassifier, writer: Writer) -> dict[str, Any]:
    params = {k: v for k, v in model.get_params(deep=False).items() if k not in _NOT_SAVED}
    return {name: encode(value, name, writer) for name, value in params.items()}


def _read_params(record: dict[str, Any], reader: Reader) -> dict[str, Any]:
    return renamed({name: decode(value, reader) for name, value in record.items()})


def encode(value: Any, name: str, writer: Writer) -> Any:
    """Turn a parameter into JSON values, or raise `BundleError`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Augmentation):
        return {"augmentation": dataclasses.asdict(value)}
    if isinstance(value, dict):
        return {"dict": [[encode(k, name, writer), encode(v, name, writer)]
                         for k, v in value.items()]}  # fmt: skip
    if isinstance(value, (list, tuple, np.ndarray)):
        return [encode(v, name, writer) for v in value]
    if isinstance(value, Head):
        return {"head": _head_class(value), "params": {
            k: encode(v, k, writer) for k, v in value.get_params(deep=False).items()
        }}  # fmt: skip
    if isinstance(value, BaseEstimator):
        return {"skops": writer.estimator(value)}
    if isinstance(value, np.random.RandomState):
        return None  # what it drew is in the fitted model; its state cannot be drawn from again
    if isinstance(value, BackboneSpec):
        raise BundleError(_NO_CODE.format(value.name))
    plain = as_config(value)
    if plain is not value:  # an optimizer or a loss of Keras's own; foreign ones are refused
        return encode(plain, name, writer)
    raise BundleError(
        f"The parameter {name!r} holds {value!r}, which cannot be saved without code: register it "
        "through a plugin and pass its name."
    )


def decode(value: Any, reader: Reader) -> Any:
    """Build a parameter from its JSON values."""
    if isinstance(value, list):
        return [decode(v, reader) for v in value]
    if not isinstance(value, dict):
        return value
    if "augmentation" in value:
        options: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value["augmentation"].items()
        }
        return Augmentation(**options)
    if "dict" in value:
        return {decode(k, reader): decode(v, reader) for k, v in value["dict"]}
    if "skops" in value:
        return reader.estimator(value["skops"])
    params = {k: decode(v, reader) for k, v in value["params"].items()}
    return _head_from(value["head"])(**params)


def _head_class(head: Head) -> dict[str, str]:
    """Say where a head's class can be found again: by its registered name, or in this library."""
    from fundus.heads.sklearn_heads import EstimatorAsHead

    if type(head) is EstimatorAsHead:
        return {"name": "", "distribution": OWN}
    for entry in get_registry().entries["head"]:
        if entry.spec.make is type(head):
            return _origin(entry)
    raise BundleError(
        f"The head {head!r} cannot be saved, since its class is not registered: offer "
        f"{type(head).__name__} as a HeadSpec's 'make' in a plugin."
    )


def _head_from(where: dict[str, str]) -> Callable[..., Any]:
    from fundus.heads.sklearn_heads import EstimatorAsHead

    if not where["name"]:
        return EstimatorAsHead
    return _find("head", where).make


def _origin(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.qualified_name,
        "distribution": entry.distribution,
        "version": metadata.version(entry.distribution),
    }


def _find(kind: Kind, where: dict[str, str]) -> Any:
    """Find what a model was saved with; older bundles do not tell every version."""
    name, package = where["name"], where["distribution"]
    needs = f"The model needs the {kind} {name!r} of the package {package!r}"
    saved = f" (saved with version {where['version']})" if where.get("version") else ""
    try:
        entry = get_registry().find(kind, name)
    except UnknownNameError as error:
        raise UnknownNameError(
            f"{needs}, which is not installed or does not load: pip install {package}{saved}. "
            f"({error})"
        ) from None
    if canonical(entry.distribution) != canonical(package):
        raise UnknownNameError(
            f"{needs}, but what goes by that name here comes with {entry.distribution!r}: "
            f"pip install {package}{saved}, and uninstall the other or leave it out with "
            "FUNDUS_DISABLE_PLUGINS."
        )
    return entry.spec


def _write_frozen(frozen: Frozen, writer: Writer) -> dict[str, Any]:
    network, normaliser = frozen.network, frozen.normaliser
    if not isinstance(network.backbone, str):
        raise BundleError(_NO_CODE.format(network.backbone.name))
    entry = get_registry().find("backbone", network.backbone)
    by_name = network.weights in network.spec.pretrained
    record = {
        "backbone": entry.lasting_name,
        "distribution": entry.distribution,
        "version": metadata.version(entry.distribution),
        "weights": network.weights if by_name else None,
        # a file is known by its own digest, so that saving and loading build no network
        "weights_sha256": weights_identity(network) if by_name else model_digest(network),
        "image_size": network.image_size,
        "freeze": network.freeze,
        "pooling": network.pooling,
        "crop": frozen.recipe.crop,
        "power": frozen.power,
        **normaliser_record(normaliser, network.spec),
    }
    if not by_name:
        # random weights, and files that may move, go along; folds share one copy
        file = writer.folder / f"backbone-{record['weights_sha256'][:16]}.weights.h5"
        if not file.exists():
            network.build().save_weights(file)
        record["file"] = file.name
    return record


def _read_frozen(record: dict[str, Any], reader: Reader) -> Frozen:
    spec = _find("backbone", {**record, "name": record["backbone"]})
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
        _read_normaliser(record, spec),
        record.get("power"),  # bundles of the first release have none
    )


def _read_normaliser(record: dict[str, Any], spec: BackboneSpec) -> Normaliser:
    scale = spec.normalise if record["normalise"] == "backbone" else record["normalise"]
    if isinstance(scale, str):
        where = {"name": scale, "distribution": record["normaliser_from"]}
        where["version"] = record.get("normaliser_version", "")
        _find("preprocessor", where)
        _check_kind(find_scale, where)
    step = record.get("photometric")  # bundles of format 1 have none
    photometric = None
    if step is not None:
        _find("preprocessor", step)
        _check_kind(find_photometric, step)
        photometric = Photometric(step["name"], _state(step["state"]))
    return Normaliser(scale, _state(record["state"]), photometric)


def _check_kind(find: Callable[[str], Entry], where: dict[str, Any]) -> None:
    """Refuse a preprocessor that has become one of the other kind since the model was saved."""
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


def _write_head(head: Any, writer: Writer) -> dict[str, Any]:
    if isinstance(head, FittedEstimator):
        return {
            "kind": "estimator",
            "file": writer.estimator(head.estimator),
            "n_grades": head.n_grades,
            "is_regressor": head.is_regressor,
            "residual_std": head.residual_std,
        }
    # numpy's files know no bfloat16, all of whose numbers float32 has too
    known = (np.asarray(w) for w in head.network().get_weights())
    weights = [w if w.dtype.kind == "f" else w.astype(np.float32) for w in known]
    tail = head.tail
    return {
        "kind": "net",
        "head": encode(tail.head, "head", writer),
        "n_grades": tail.n_grades,
        "n_features": tail.n_features,
        "history": head.history,
        "residual_std": head.residual_std,
        "weights": writer.arrays({f"w{k:04d}": w for k, w in enumerate(weights)}),
        "dtype_policy": tail.dtype_policy,
    }


def _read_head(record: dict[str, Any], reader: Reader, network: Network | None) -> Any:
    std = record.get("residual_std")  # older bundles have none, and keep their probabilities
    if record["kind"] == "estimator":
        return FittedEstimator(
            reader.estimator(record["file"]), record["n_grades"], record["is_regressor"], std
        )
    from fundus.runtime.tensorflow import require_tensorflow

    require_tensorflow()  # before the modules of the training, which import Keras
    from fundus.training.tail import Tail
    from fundus.training.trainer import trained_net

    width = record["n_features"]
    tail = Tail(
        decode(record["head"], reader),
        record["n_grades"],
        width,
        network if width is None else None,
        record.get("dtype_policy", "float32"),  # bundles of the first release have none
    )
    arrays = reader.arrays(record["weights"])
    weights = [arrays[name] for name in sorted(arrays)]
    return dataclasses.replace(trained_net(tail, weights, record["history"]), residual_std=std)
