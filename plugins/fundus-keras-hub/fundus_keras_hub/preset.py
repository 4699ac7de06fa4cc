"""Where a preset's files are, and what they say: architecture, preprocessing and weights."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import BundleError, WeightsNotAvailableError

CONFIG = "config.json"
CONVERTER = "image_converter.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Preset:
    """A preset of keras-hub, in a folder or on Kaggle.

    Parameters
    ----------
    name : str
        Name of the backbone.
    source : str
        An absolute folder, or a Kaggle handle with its version, ``owner/model/keras/variant/1``.
    """

    name: str
    source: str

    def file(self, name: str, *, download: bool = True) -> Path | None:
        """Find one of the preset's files on this machine, or fetch it from Kaggle.

        Parameters
        ----------
        name : str
        download : bool, default=True
            Whether to fetch it where it is not here.

        Returns
        -------
        Path or None
            ``None`` where it is not here and `download` is false.

        Raises
        ------
        WeightsNotAvailableError
            If it cannot be had.
        """
        if os.path.isabs(self.source):
            path = Path(self.source) / name
            if path.is_file():
                return path
        else:
            path = _cached(self.source, name)
            if path is not None:
                return path
        return self._fetch(name) if download else None

    def _fetch(self, name: str) -> Path:
        if os.path.isabs(self.source):
            raise WeightsNotAvailableError(
                f"The preset in {self.source!r} has no file {name!r}; save it with "
                "save_to_preset() of its keras-hub backbone and of its image converter."
            )
        import kagglehub

        try:
            return Path(kagglehub.model_download(self.source, path=name))
        except Exception as error:  # kagglehub raises what the network and Kaggle make it raise
            raise WeightsNotAvailableError(
                f"The file {name!r} of the preset {self.name!r} is not on this machine and "
                f"could not be fetched from Kaggle ({type(error).__name__}: {error}). Where there "
                f"is a network, download kaggle.com/models/{self.source} as a folder called "
                f"{self.name!r}, and set FUNDUS_KERAS_HUB_PRESETS to the folder that contains it."
            ) from error

    def json(self, name: str) -> dict[str, Any]:
        """Read one of the preset's JSON files.

        Raises
        ------
        WeightsNotAvailableError
            If it cannot be had.
        BundleError
            If it is no JSON object.
        """
        path = self.file(name)
        assert path is not None
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise BundleError(f"The file {str(path)!r} is no JSON ({error}).") from error
        if not isinstance(content, dict):
            raise BundleError(f"The file {str(path)!r} must hold a JSON object.")
        return content

    def normalise(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Rescale images as the preset's image converter does after resizing.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, height, width, 3)
            RGB, 0–255.

        Returns
        -------
        ndarray of float32, shape (n, height, width, 3)
        """
        scale, offset = rescaling(self.json(CONVERTER).get("config", {}))
        x = images.astype(np.float32)
        if scale is not None:
            x = x * np.asarray(scale, np.float32)
        if offset is not None:
            x = x + np.asarray(offset, np.float32)
        return x


def rescaling(config: dict[str, Any]) -> tuple[Any, Any]:
    """Return the scale and the offset in the configuration of an image converter.

    Parameters
    ----------
    config : dict
        Of today's form, with ``scale`` and ``offset``, or of the older one, with ``mean`` and
        ``variance``, which keras-hub reads in the same way.

    Returns
    -------
    tuple of float, list of float or None
    """
    scale, offset = config.get("scale"), config.get("offset")
    if "mean" in config and "variance" in config:
        deviation = np.sqrt(config["variance"])
        # as keras-hub does it, where scale is a number in these files
        scale = (scale / deviation).tolist()
        offset = (-np.asarray(config["mean"]) / deviation).tolist()
    return scale, offset


def _cached(handle: str, name: str) -> Path | None:
    """Return a file that kagglehub fetched before, and wholly."""
    home = os.environ.get("KAGGLEHUB_CACHE", Path.home() / ".cache" / "kagglehub")
    variant, _, version = handle.rpartition("/")
    folder = Path(home) / "models" / variant
    markers = [
        folder / f"{version}.complete",
        folder / ".complete" / version / f"{name}.complete",
    ]
    path = folder / version / name
    return path if path.is_file() and any(map(Path.exists, markers)) else None
