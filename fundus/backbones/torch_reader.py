"""Read the tensors of a PyTorch file with numpy alone, and without running what is in it.

Both formats of ``torch.save`` are pickles beside raw numbers. The pickle is read as data
(`fundus.backbones.torch_pickle`): it can neither call nor change anything. What it says of a tensor
is checked in one place, where the view is made, against the numbers that the file really has. So a
hostile file can raise an error and nothing more, and the limits below keep it from using much more
time and memory than its size.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fundus.backbones.torch_pickle import (
    MOST_BYTES,
    STORAGES,
    PickleReader,
    Storage,
    Tensor,
    kind_of,
    short,
)
from fundus.exceptions import BundleError, WeightsNotAvailableError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

#: Tensors of a file. The largest networks in use have some thousands.
MOST_TENSORS = 100_000
#: Dimensions of a tensor; numpy 1 has no more than 32.
MOST_DIMENSIONS = 32
#: Bytes that all tensors together may have, as a multiple of the file: weights that are used in
#: several places are one storage under several names, and bfloat16 doubles.
MOST_EXPANSION = 16
#: Bytes that they may have in any case: a small file may hold a number that fills a tensor.
ALWAYS_ALLOWED = 1 << 26


def read_torch_state(
    path: str | Path, *, sha256: str | None = None, key: str | None = None
) -> dict[str, NDArray[Any]]:
    """Read a dictionary of tensors that ``torch.save`` wrote.

    Reads the zip format of PyTorch 1.6 and later and the format before it. PyTorch is not needed
    and nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
        The file.
    sha256 : str, default=None
        Expected SHA-256 of the file, in hexadecimal; checked before anything is parsed.
    key : str, default=None
        Entry that holds the tensors, for a checkpoint such as ``{"model": {...}}``. What else the
        checkpoint holds, such as an optimizer and the arguments of a program, is not read.

    Returns
    -------
    dict of str to ndarray
        The tensors by name, contiguous and in their own dtype (bfloat16 becomes float32).

    Raises
    ------
    WeightsNotAvailableError
        If there is no such file.
    BundleError
        If the file has another SHA-256, is truncated or damaged, asks for anything but tensors,
        or holds no dictionary of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotAvailableError(f"There is no weights file {str(path)!r}.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise WeightsNotAvailableError(
            f"The weights file {str(path)!r} cannot be read ({error})."
        ) from None
    with file:
        if sha256 is not None:
            _check_digest(file, path, sha256)
        try:
            n_bytes = file.seek(0, os.SEEK_END)
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            file.seek(0)
            tensors, arrays = read(file, n_bytes, path, key)
            _check_sizes(tensors, arrays, n_bytes)
            return {name: _view(tensor, arrays) for name, tensor in tensors.items()}
        except BundleError:
            raise
        except Exception as error:  # what damage raises here depends on where it struck
            raise BundleError(
                f"The file {str(path)!r} is damaged, truncated or no PyTorch file "
                f"({type(error).__name__}: {str(error)[:200]}); get it again."
            ) from None


def _check_digest(file: IO[bytes], path: Path, expected: str) -> None:
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if found != expected.lower():
        raise BundleError(
            f"The file {str(path)!r} must have the SHA-256 {expected!r}, but has {found!r}; "
            "it is damaged or another version: install it again."
        )


def _tensors_of(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    if key is not None and isinstance(content, dict):
        if key not in content:
            present = ", ".join(short(name) for name in list(content)[:10])
            raise BundleError(f"The file {str(path)!r} has no entry {key!r}; it has [{present}].")
        content = content[key]
    if not isinstance(content, dict):
        raise BundleError(
            f"The file {str(path)!r} must hold a dictionary of tensors, "
            f"but holds a {kind_of(content)}."
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            shown = short(name)
            raise BundleError(
                f"The file {str(path)!r} must hold tensors by name, but its entry {shown} is a "
                f"{kind_of(value)}; if that is where the tensors are, pass key={shown}."
            )
    if len(content) > MOST_TENSORS:
        raise ValueError(f"it has {len(content):,} tensors, and more than {MOST_TENSORS:,}")
    return content


_Read = tuple[Mapping[str, Tensor], dict[str, NDArray[Any]]]


def _read_legacy(file: IO[bytes], n_bytes: int, path: Path, key: str | None) -> _Read:
    def load(reader: PickleReader) -> Any:
        return reader.load(file, n_bytes - file.tell())

    name = str(path)
    if load(PickleReader(name)) != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("it does not start as torch.save would")
    if load(PickleReader(name)) != _LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("an unknown protocol")
    order = "<" if load(PickleReader(name))["little_endian"] else ">"
    reader = PickleReader(name, replace_foreign=key is not None)
    tensors = _tensors_of(load(reader), key, path)
    needed = {tensor.storage.key for tensor in tensors.values()}
    arrays: dict[str, NDArray[Any]] = {}
    for stored in load(PickleReader(name)):
        if type(stored) is not str:  # to hash a tuple within a tuple may take forever
            raise TypeError(f"a storage whose name is {short(stored)}")
        storage = reader.storages[stored]
        (numel,) = struct.unpack(order + "q", file.read(8))
        if numel != storage.numel:
            raise ValueError(f"storage {short(stored)} has {numel} elements, not {storage.numel}")
        if stored in needed:
            left = n_bytes - file.tell()
            arrays[stored] = _storage_array(storage, order, file.read, left)
        else:
            file.seek(_size(storage), os.SEEK_CUR)
    return tensors, arrays


def _read_zip(file: IO[bytes], n_bytes: int, path: Path, key: str | None) -> _Read:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise zipfile.BadZipFile("two members of one name")
        root = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
        if root is None:
            raise KeyError("data.pkl")
        members = _Members(archive, n_bytes)
        order = "<"
        if root + "byteorder" in names and members.read(root + "byteorder", 16) == b"big":
            order = ">"
        reader = PickleReader(str(path), replace_foreign=key is not None)
        with members.open(root + "data.pkl", MOST_BYTES) as (part, size):
            tensors = _tensors_of(reader.load(part, size), key, path)
        arrays = {}
        for storage in {tensor.storage.key: tensor.storage for tensor in tensors.values()}.values():
            with members.open(f"{root}data/{storage.key}", n_bytes) as (part, size):
                arrays[storage.key] = _storage_array(storage, order, part.read, size)
    return tensors, arrays


class _Members:
    """The members of an archive, which together are no larger than the archive itself."""

    def __init__(self, archive: zipfile.ZipFile, n_bytes: int) -> None:
        self._archive, self._left = archive, n_bytes

    @contextmanager
    def open(self, name: str, most: int) -> Iterator[tuple[IO[bytes], int]]:
        """Open a member of `most` bytes at most; give it and its size."""
        info = self._archive.getinfo(name)
        # PyTorch stores members as they are; a compressed one may be a thousand times its size
        if info.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"the member {name[:100]!r} is compressed")
        self._left -= info.file_size
        if info.file_size > most or self._left < 0:  # members may lie upon each other
            raise zipfile.BadZipFile(f"the member {name[:100]!r} is too large")
        with self._archive.open(info) as member:
            yield member, info.file_size

    def read(self, name: str, most: int) -> bytes:
        """Read a member of `most` bytes at most."""
        with self.open(name, most) as (member, size):
            return member.read(size)


def _size(storage: Storage) -> int:
    """Bytes of a storage."""
    return storage.numel * np.dtype(STORAGES[storage.kind]).itemsize


def _storage_array(
    storage: Storage, order: str, read: Callable[[int], bytes], left: int
) -> NDArray[Any]:
    size = _size(storage)
    raw = read(size) if size <= left else b""
    if len(raw) != size:
        raise EOFError(f"storage {short(storage.key)} has not the {size} bytes it should have")
    array = np.frombuffer(raw, dtype=np.dtype(order + STORAGES[storage.kind]))
    if storage.kind == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_sizes(
    tensors: Mapping[str, Tensor], arrays: Mapping[str, NDArray[Any]], n_bytes: int
) -> None:
    """Refuse tensors that together are far larger than their file: strides may repeat numbers."""
    total = 0
    for tensor in tensors.values():
        total += math.prod(_dimensions(tensor)[0]) * arrays[tensor.storage.key].itemsize
    if total > ALWAYS_ALLOWED + MOST_EXPANSION * n_bytes:
        raise ValueError(f"{n_bytes:,} bytes would become tensors of {short(total)} bytes")


def _dimensions(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides, in elements."""
    for numbers in (tensor.shape, tensor.strides, (tensor.offset,)):
        if type(numbers) not in (tuple, list) or len(numbers) > MOST_DIMENSIONS:
            raise ValueError("a tensor without a shape, or with too many dimensions")
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("a tensor whose offset, shape or strides are no counts")
    return tuple(tensor.shape), tuple(tensor.strides)


def _view(tensor: Tensor, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    array = arrays[tensor.storage.key]
    shape, strides = _dimensions(tensor)
    if len(shape) != len(strides):
        raise ValueError(f"shape {shape} and strides {strides} differ in length")
    if 0 in shape:
        return np.empty(shape, array.dtype)
    last = tensor.offset + sum(
        (length - 1) * stride for length, stride in zip(shape, strides, strict=True)
    )
    # as_strided does not look at bounds: a hostile file would read foreign memory
    if last >= array.size:
        raise ValueError(f"a tensor of shape {shape} ends at {last} of {array.size}")
    steps = tuple(stride * array.itemsize for stride in strides)
    view = np.lib.stride_tricks.as_strided(array[tensor.offset :], shape, steps)
    return view.copy()
