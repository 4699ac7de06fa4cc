"""Finding the image files that a table names: as they are written, else by their stems."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import defaultdict
from functools import cached_property
from pathlib import PurePosixPath

from fundus.data.folders import is_image, is_system_folder
from fundus.data.tables import IMAGE_SUFFIXES
from fundus.exceptions import DataWarning

# Folders beside a table in which the images of the public data sets usually lie.
_USUAL_FOLDERS = ("images", "train", "train_images")

# Extensions that a table may still name after the images were converted.
_KNOWN_SUFFIXES = (*IMAGE_SUFFIXES, ".ppm", ".gif", ".jp2")


class ImageFinder:
    """Find image files by names or bare ids.

    A name is tried as it is written, with one listing for each folder. Where that fails, it is
    looked up among all images below the folder by its stem, whatever its case, its extension and
    its Unicode form; they are walked through once, passing over hidden folders and those of the
    system, and links to folders are not followed.

    Parameters
    ----------
    folder : path-like
        Where relative names start; its subfolders images, train and train_images are tried
        for what does not lie in the folder itself. "" is the working directory.
    search : bool, default=True
        Whether to look up below the folder what is not found so. Where nobody named a folder, the
        working directory may hold anything.

    Attributes
    ----------
    renamed : list of tuple of str
        Images found so far in another folder, or with another extension, than their names say:
        each name as given, and as found from the image folder.

    Examples
    --------
    >>> ImageFinder("nowhere").find("10_left")
    ('nowhere/10_left', "there is no image '10_left' in or below 'nowhere', whatever its case ...
    """

    def __init__(self, folder: str | os.PathLike[str], *, search: bool = True) -> None:
        self.folder = os.fspath(folder)
        self._searched = (self.folder or os.curdir) if search else ""
        self.renamed: list[tuple[str, str]] = []
        self._listings: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {}

    def find(self, name: str) -> tuple[str, str | None]:
        """Return where an image is, or was expected, and what is wrong with it or None.

        Its name is a file name, a path relative to the folder, an absolute path, or an id that
        lacks the extension. A leading slash or backslash that makes no absolute path here is that
        of the folder.
        """
        written = PurePosixPath(name.replace("\\", "/"))
        inside = PurePosixPath(*written.parts[1:]) if written.is_absolute() else written
        expected = os.path.join(self.folder, written)
        hits = self._matches(expected) if written.is_absolute() else []
        # '/../x.jpg' is no name of a file in the folder
        if not hits and not (written.is_absolute() and ".." in inside.parts):
            hits = self._as_written(inside)
        if len(hits) > 1:
            return expected, f"the id {name!r} stands for several files, {hits}: name one of them"
        if hits:
            return hits[0], None
        found = self._by_stem(inside) if self._searched else []
        if len(found) > 1:
            return expected, (
                f"the name {name!r} stands for {len(found)} files below {self._searched!r}, such "
                f"as {found[0]!r} and {found[1]!r}: give the folder and the extension in the name, "
                f"as in {found[0]!r}"
            )
        if not found:
            return expected, self._missing(name, written)
        if not self._confirms(inside, found[0]):
            self.renamed.append((name, found[0]))
        return os.path.join(self.folder, found[0]), None

    def warn_of_renamed(self, n_rows: int) -> None:
        """Warn once of all images that were found elsewhere, or with another extension."""
        if self.renamed:
            name, found = self.renamed[0]
            warnings.warn(
                f"{len(self.renamed)} of {n_rows} images are not where the table says, but one "
                f"file below {self._searched!r} has the name, in another folder or with another "
                f"extension, and is taken: the first is {name!r} -> {found!r}.",
                DataWarning,
                stacklevel=3,
            )

    def _missing(self, name: str, written: PurePosixPath) -> str:
        if written.is_absolute():
            return "there is no such image file" + (
                f", nor one of its name below {self._searched!r}" if self._searched else ""
            )
        if self._searched:
            return (
                f"there is no image {name!r} in or below {self._searched!r}, whatever its case and "
                "extension"
            )
        return (
            f"there is no image {name!r} in the working directory or its subfolders "
            f"{', '.join(_USUAL_FOLDERS)}: pass image_dir= to have a whole folder searched"
        )

    def _as_written(self, name: PurePosixPath) -> list[str]:
        hits = self._matches(os.path.join(self.folder, name))
        if not hits:
            for subfolder in _USUAL_FOLDERS:
                hits += self._matches(os.path.join(self.folder, subfolder, name))
        return hits

    def _matches(self, path: str) -> list[str]:
        folder, base = os.path.split(path)
        files, stems = self._listing(folder)
        base = unicodedata.normalize("NFC", base)
        names = [files[base]] if base in files else stems.get(base, [])
        return [os.path.join(folder, name) for name in sorted(names)]

    def _listing(self, folder: str) -> tuple[dict[str, str], dict[str, list[str]]]:
        if folder not in self._listings:
            files: dict[str, str] = {}
            stems: dict[str, list[str]] = defaultdict(list)
            for name in os.listdir(folder or ".") if os.path.isdir(folder or ".") else ():
                # A table may write an umlaut as one code point and the disc as two.
                normal = unicodedata.normalize("NFC", name)
                files[normal] = name
                stem, suffix = os.path.splitext(normal)
                if suffix.lower() in IMAGE_SUFFIXES:
                    stems[stem].append(name)
            self._listings[folder] = files, stems
        return self._listings[folder]

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        """All images below the folder, from it, by their stems."""
        index: dict[str, list[str]] = defaultdict(list)
        for directory, subfolders, files in os.walk(self._searched):
            subfolders[:] = sorted(name for name in subfolders if not is_system_folder(name))
            inside = os.path.relpath(directory, self._searched).replace(os.sep, "/")
            prefix = "" if inside == "." else f"{inside}/"
            for name in sorted(files):
                if is_image(name):
                    index[_caseless(os.path.splitext(name)[0])].append(prefix + name)
        return index

    def _by_stem(self, name: PurePosixPath) -> list[str]:
        """Return the images that `name` may mean; the one in the folder that it gives, if any."""
        found = self._index.get(_caseless(_split(name.name)[0]), [])
        if len(found) < 2:
            return found
        *folders, _ = name.parts
        shared = {path: self._shared_folders(name, path) for path in found}
        # one path of folders must be the end of the other: a/1/x is not b/1/x
        agreeing = [
            path
            for path in found
            if shared[path] and shared[path] >= min(len(folders), path.count("/"))
        ]
        if agreeing:
            most = max(shared[path] for path in agreeing)
            found = [path for path in agreeing if shared[path] == most]
        elif folders:
            return found
        suffix = _caseless(_split(name.name)[1])
        alike = [path for path in found if _caseless(os.path.splitext(path)[1]) == suffix]
        return alike or found

    def _shared_folders(self, name: PurePosixPath, path: str) -> int:
        """Count the folders at the end of a name that a file lies in, the image folder included."""
        full = os.path.abspath(os.path.join(self.folder, path)).replace(os.sep, "/")
        shared = 0
        for one, other in zip(name.parts[-2::-1], full.split("/")[-2::-1], strict=False):
            if _caseless(one) != _caseless(other):
                break
            shared += 1
        return shared

    def _confirms(self, name: PurePosixPath, path: str) -> bool:
        """Whether a file has the extension and lies in the folder that a name gives, if it does."""
        suffix = _caseless(_split(name.name)[1])
        if suffix and suffix != _caseless(os.path.splitext(path)[1]):
            return False
        return len(name.parts) == 1 or self._shared_folders(name, path) > 0


def _caseless(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", composed.casefold())


def _split(name: str) -> tuple[str, str]:
    """Split a name from an extension of images; '.v1' of an id is not one."""
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if suffix.lower() in _KNOWN_SUFFIXES else (name, "")
