"""The files of a bundle: each is read once, and its digest is that of the bytes that are used."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fundus.exceptions import BundleError
from fundus.runtime.arrays import save_arrays
from fundus.saving.archives import check_skops, read_npz
from fundus.saving.of_a_run import as_written, with_defaults
from fundus.saving.old_names import with_todays_names
from fundus.saving.same_bytes import with_plain_numbers

#: Parts of the built-in heads that skops does not trust by itself; loading them runs no code.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.model_selection._split.StratifiedKFold",
    "fundus.heads.ordinal_estimators.OrdinalLogisticRegression",
    "fundus.heads.ordinal_ridge.OrdinalRidge",
    "fundus.heads.view_folds.ViewFolds",
    "fundus.heads.view_scaler.ViewStandardScaler",
    # an imputer's; read from an empty array, without pickle
    "numpy.dtype",
    # a pipeline that begins with a FeatureExtractor
    "fundus.transfer.features.FeatureExtractor",
    "fundus.images.ImageRecipe",
    "fundus.frozen.function.Frozen",
    "fundus.backbones.network.Network",
    "fundus.frozen.normaliser.Normaliser",
)

#: Largest file of a bundle that is read, in bytes.
MOST_BYTES = 4 << 30

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def is_plain_name(name: object) -> bool:
    """Whether a name is that of a file in the bundle's own folder on every system.

    It has no separators, no drive, no leading dot, and no "..".

    Examples
    --------
    >>> [is_plain_name(name) for name in ("part-01.npz", "../a", "/a", ".a", "C:a", 3)]
    [True, False, False, False, False, False]
    """
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None and ".." not in name


def read_file(path: Path, *, most: int = MOST_BYTES, links: bool = False) -> bytes:
    """Read a whole file of a bundle, opened once.

    Parameters
    ----------
    path : Path
    most : int
        Largest size in bytes.
    links : bool, default=False
        Whether it may be a link, as in the cache of the Hub.

    Raises
    ------
    BundleError
        If it is missing, a link, no ordinary file, too large, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        if links:
            path = Path(os.path.realpath(path))
        if path.is_symlink():  # also where O_NOFOLLOW does not exist
            raise BundleError(
                f"The file {str(path)!r} is a link: a saved model holds its files themselves. Copy "
                "the folder with the links followed, such as by cp -rL."
            )
        # without O_NONBLOCK, opening a pipe waits for its writer
        handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise BundleError(
            f"The model in {str(path.parent)!r} lacks its file {path.name!r}."
        ) from None
    except (OSError, ValueError) as error:
        raise BundleError(f"The file {str(path)!r} cannot be read ({error}).") from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise BundleError(
            f"The file {str(path)!r} must be an ordinary file. Got a folder, pipe or device "
            "instead: copy the model again."
        )
    with os.fdopen(handle, "rb") as file:
        if found.st_size > most:
            raise BundleError(
                f"The file {str(path)!r} must have at most {most:,} bytes. Got {found.st_size:,} "
                "instead: the model is damaged."
            )
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise BundleError(f"The file {str(path)!r} cannot be read ({error}).") from None
    if len(data) > most:  # it grew meanwhile
        raise BundleError(f"The file {str(path)!r} must have at most {most:,} bytes.")
    return data


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
        save_arrays(self.folder / name, arrays)

    def estimator(self, estimator: Any) -> str:
        """Write a scikit-learn estimator with skops; return the file's name."""
        import skops.io  # which is slow, and networks need none of it

        file = self.file(".skops")
        written = io.BytesIO()
        skops.io.dump(as_written(estimator), written)
        file.write_bytes(with_plain_numbers(written.getvalue()))
        return file.name


@dataclass(frozen=True)
class BundleReader:
    """Reads the files of a bundle that its manifest lists.

    Parameters
    ----------
    folder : Path
    trusted : tuple of str, default=()
        Further types that skops may load.
    digests : mapping of str to str
        SHA-256 of each file by its name, 64 hexadecimal digits.
    links : bool, default=False
        Whether files may be links, as in the cache of the Hub.
    """

    folder: Path
    trusted: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    links: bool = False
    _arrays: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict, repr=False)
    _seen: set[str] = field(default_factory=set, repr=False)

    def read(self, name: str, *, most: int = MOST_BYTES) -> bytes:
        """Return the bytes of a file, which have the digest that the manifest gives.

        Raises
        ------
        BundleError
            If the name is not plain or not in the manifest, or the file is missing, a link, no
            ordinary file, or damaged.
        """
        if not is_plain_name(name) or name not in self.digests:
            raise BundleError(
                f"The model in {str(self.folder)!r} needs the file {name!r}, which its manifest "
                "does not list: copy it again."
            )
        data = read_file(self.folder / name, most=most, links=self.links)
        if hashlib.sha256(data).hexdigest() != self.digests[name]:
            raise BundleError(
                f"The file {str(self.folder / name)!r} is damaged: its SHA-256 is not the one in "
                "manifest.json."
            )
        self._seen.add(name)
        return data

    def path(self, name: str) -> tuple[str, str]:
        """Return where a file of the manifest is, and its digest, for one that is read later."""
        if name not in self.digests:
            self.read(name)  # raises
        return str((self.folder / name).absolute()), self.digests[name]

    def check_the_rest(self) -> None:
        """Check the files that were not read: the manifest lists them, so they must be whole.

        Raises
        ------
        BundleError
            As `read`.
        """
        for name in sorted({*self.digests} - self._seen):
            self.read(name)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Read arrays; all parts of a model that are in one file share them."""
        if name not in self._arrays:
            self._arrays[name] = read_npz(self.read(name), self.folder / name)
        return self._arrays[name]

    def estimator(self, name: str) -> Any:
        """Read a scikit-learn estimator; types that are not trusted are refused."""
        import skops.io

        file = self.folder / name
        data = self.read(name)
        check_skops(data, file)
        data = with_todays_names(data)
        allowed = {*TRUSTED, *self.trusted}
        unknown = [t for t in skops.io.get_untrusted_types(data=data) if t not in allowed]
        if unknown:
            raise BundleError(
                f"The file {str(file)!r} holds types that are not trusted: {', '.join(unknown)}. "
                "If you know where the model comes from, pass them as trusted=[...]."
            )
        return with_defaults(skops.io.loads(data, trusted=sorted(allowed)))
