"""The files of a bundle: arrays without pickle, and scikit-learn estimators through skops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray

from fundus.exceptions import BundleError
from fundus.saving.old_names import with_todays_names

#: Parts of the built-in heads that skops does not trust by itself; loading them runs no code.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.model_selection._split.StratifiedKFold",
    "fundus.heads.ordinal_estimators.OrdinalLogisticRegression",
    "fundus.heads.ordinal_ridge.OrdinalRidge",
    # an imputer's; read from an empty array, without pickle
    "numpy.dtype",
    # a pipeline that begins with a FeatureExtractor
    "fundus.transfer.features.FeatureExtractor",
    "fundus.images.ImageRecipe",
    "fundus.frozen.function.Frozen",
    "fundus.backbones.network.Network",
    "fundus.frozen.normaliser.Normaliser",
)


@dataclass
class BundleWriter:
    """Names the files of a bundle while it is written."""

    folder: Path
    count: int = 0

    def file(self, suffix: str) -> Path:
        """Return a new file name."""
        self.count += 1
        return self.folder / f"part-{self.count:02d}{suffix}"

    def arrays(self, arrays: dict[str, NDArray[Any]]) -> str:
        """Write arrays into a new file; return its name."""
        name = self.file(".npz").name
        self.save_arrays(name, arrays)
        return name

    def save_arrays(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Write arrays without pickle."""
        np.savez(self.folder / name, allow_pickle=False, **arrays)

    def estimator(self, estimator: Any) -> str:
        """Write a scikit-learn estimator with skops; return the file's name."""
        file = self.file(".skops")
        skops.io.dump(estimator, file)
        return file.name


@dataclass(frozen=True)
class BundleReader:
    """Reads the files of a bundle."""

    folder: Path
    trusted: tuple[str, ...] = ()

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Read arrays."""
        with np.load(self.folder / name, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    def estimator(self, name: str) -> Any:
        """Read a scikit-learn estimator; types that are not trusted are refused."""
        file = self.folder / name
        allowed = {*TRUSTED, *self.trusted}
        data = with_todays_names(file)
        unknown = [t for t in skops.io.get_untrusted_types(data=data) if t not in allowed]
        if unknown:
            raise BundleError(
                f"The file {str(file)!r} holds types that are not trusted: {', '.join(unknown)}. "
                "If you know where the model comes from, pass them as trusted=[...]."
            )
        return skops.io.loads(data, trusted=sorted(allowed))
