"""Records for fundus-zoo, made without importing Keras or keras-hub."""

from __future__ import annotations

import os
import re
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus.exceptions import (
    BundleError,
    FundusError,
    FundusWarning,
    InvalidParameterError,
)
from fundus.hookspecs import BackboneSpec
from fundus_keras_hub.preset import CONFIG, CONVERTER, METADATA, WEIGHTS, Preset
from fundus_keras_hub.table import FAMILIES, PRESETS

if TYPE_CHECKING:
    import keras

#: Where local presets are: a folder of folders.
PRESETS_VARIABLE = "FUNDUS_KERAS_HUB_PRESETS"

#: The one name of pretrained weights.
PRETRAINED = "preset"


def _build(preset: Preset, *, image_size: int, weights: str | None) -> keras.Model:
    config = preset.json(CONFIG)
    cls = _backbone_class(preset, config)
    # all files in one folder, which keras-hub reads without asking the network
    folder = _file(preset, CONFIG).parent
    if weights is not None:
        _file(preset, WEIGHTS)
    import keras

    shape = {_shape_argument(config): (image_size, image_size, 3)}
    try:
        backbone = cls.from_preset(str(folder), load_weights=weights is not None, **shape)
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidParameterError(
            f"The preset {preset.name!r} cannot be built with image_size={image_size} and "
            f"weights={weights!r} ({reason}). Networks with learned positions or windows, such as "
            "ViT and DeiT, have one image size."
        ) from error
    (inputs,), (outputs,) = backbone.inputs, backbone.outputs
    return keras.Model(inputs, outputs, name=preset.name)


def _shape_argument(config: dict[str, Any]) -> str:
    return "input_shape" if "input_shape" in config["config"] else "image_shape"


def _file(preset: Preset, name: str) -> Path:
    path = preset.file(name)
    assert path is not None
    return path


def _class_name(preset: Preset, config: dict[str, Any]) -> str:
    name = config.get("class_name")
    if "registered_name" not in config or not isinstance(name, str):
        raise BundleError(
            f"The preset {preset.name!r} has a {CONFIG!r} that is not of keras-hub; load the "
            "checkpoint with keras-hub once and write it with save_to_preset()."
        )
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BundleError(
            f"The preset {preset.name!r} holds a {name}, which is none of the vision backbones "
            f"that give one feature map: {known}."
        )
    return name


def _backbone_class(preset: Preset, config: dict[str, Any]) -> Any:
    name = _class_name(preset, config)
    from keras_hub import models

    return getattr(models, name)


def _weights_path(preset: Preset, name: str) -> Path | None:
    return preset.file(WEIGHTS, download=False) if name == PRETRAINED else None


def _spec(preset: Preset, family: str, *, image_size: int, **fields: Any) -> BackboneSpec:
    rules = FAMILIES[family]
    return BackboneSpec(
        name=preset.name,
        build=partial(_build, preset),
        weights_path=partial(_weights_path, preset),
        normalise=preset.normalise,
        image_size=image_size,
        min_image_size=image_size if rules.fixed_size else min(rules.smallest, image_size),
        pretrained=(PRETRAINED,),
        citation=f"https://doi.org/{rules.doi}",
        **fields,
    )


def registered_backbones() -> list[BackboneSpec]:
    """Return a record for each vision preset in keras-hub's registry.

    Returns
    -------
    list of BackboneSpec
    """
    return [
        _spec(
            Preset(row.name, row.handle),
            row.family,
            image_size=row.image_size,
            parameters=row.parameters,
            licence=f"see kaggle.com/models/{'/'.join(row.handle.split('/')[:2])}",
        )
        for row in PRESETS
    ]


def preset_backbone(folder: str | os.PathLike[str], *, name: str | None = None) -> BackboneSpec:
    """Make a record of a preset in a local folder, to pass as ``backbone=``.

    Parameters
    ----------
    folder : str or Path
        What ``save_to_preset`` of a keras-hub backbone and of its image converter wrote, or what
        Kaggle's page of a preset gives.
    name : str, default=None
        Name of the backbone; ``None`` is the folder's, in lower case.

    Returns
    -------
    BackboneSpec
        With ``pretrained=("preset",)``.

    Raises
    ------
    WeightsNotAvailableError
        If one of its files is missing.
    BundleError
        If they are not those of a vision backbone of keras-hub.
    """
    folder = Path(folder).expanduser().absolute()
    if name is None:
        name = re.sub(r"[^a-z0-9_\-]", "_", folder.name.lower())
    preset = Preset(name, str(folder))
    config = preset.json(CONFIG)
    family = _class_name(preset, config)
    count = preset.json(METADATA).get("parameter_count")
    if not isinstance(count, int):
        raise BundleError(f"The file {METADATA!r} of {str(folder)!r} has no 'parameter_count'.")
    return _spec(
        preset,
        family,
        image_size=_image_size(preset, config),
        parameters=count,
        licence="of the local preset; see where it comes from",
    )


def _image_size(preset: Preset, config: dict[str, Any]) -> int:
    """Return the edge that the converter resizes to, or the one the network was made for."""
    wanted = preset.json(CONVERTER).get("config", {}).get("image_size")
    shape = config["config"].get(_shape_argument(config))
    for size in (wanted, shape):
        if isinstance(size, list) and isinstance(size[0], int):
            if size[0] != size[1]:
                raise BundleError(
                    f"The preset {preset.name!r} is for images of {size[0]} x {size[1]} pixels; "
                    "fundus-zoo makes square ones."
                )
            return size[0]
    return 224


def local_backbones() -> list[BackboneSpec]:
    """Return a record for each preset in the folder ``FUNDUS_KERAS_HUB_PRESETS``.

    Returns
    -------
    list of BackboneSpec
        Empty where the variable is not set. A folder that cannot be read as a preset is left out
        with a warning.
    """
    home = os.environ.get(PRESETS_VARIABLE)
    if not home:
        return []
    specs = []
    for path in sorted(Path(home).expanduser().glob(f"*/{CONFIG}")):
        try:
            specs.append(preset_backbone(path.parent))
        except FundusError as error:
            warnings.warn(f"{error} It is left out.", FundusWarning, stacklevel=2)
    return specs
