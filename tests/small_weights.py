"""A small backbone whose file of weights is made here, and a way to put it in the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fundus.backbones.build import weights_digest
from fundus.builtin import tiny
from fundus.hookspecs import BackboneSpec, WeightsFile

FILE, URL = "small.weights.h5", "https://weights.test/small.weights.h5"


def build(*, image_size, weights):
    if weights is not None:
        raise AssertionError("the folder of weights has the file, so build is not asked for it")
    return tiny.build(image_size=image_size, weights=None)


def saved_weights(folder: Path) -> tuple[Path, str]:
    """A file of weights, and the digest of what is in it."""
    model = tiny.build(image_size=32, weights="fixed")
    path = folder / FILE
    model.save_weights(path)
    return path, weights_digest(model)


def small_backbone(path: Path) -> BackboneSpec:
    return BackboneSpec(
        name="small",
        build=build,
        image_size=32,
        parameters=2072,
        licence="MIT",
        normalise="tf",
        weights_files=(
            WeightsFile(
                weights="imagenet",
                file=FILE,
                digest=hashlib.sha256(path.read_bytes()).hexdigest(),
                url=URL,
            ),
        ),
    )


def put(path: Path, folder: Path) -> Path:
    (folder / path.name).write_bytes(path.read_bytes())
    return folder / path.name
