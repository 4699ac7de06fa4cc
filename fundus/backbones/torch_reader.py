"""Read the tensors of a PyTorch file with numpy alone, and without running what is in it.

Both formats of ``torch.save`` are pickles. The reader follows an allow-list of the five kinds of
object a state dictionary is made of. Everything else it refuses or, beside the tensors of a
training checkpoint, replaces by an object that does nothing, so a hostile file can raise an error
and nothing more.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fundus.exceptions import BundleError, WeightsNotAvailableError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

#: Storage class to numpy type; bfloat16, which numpy lacks, is read as 16 raw bits.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

#: What unpickling a damaged file can raise.
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True)
class _StorageType:
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    kind: _StorageType
    numel: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage whose bytes may come later in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_unused: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise TypeError(f"a tensor without a storage: {storage!r}")
    if len(shape) != len(strides):
        raise ValueError(f"shape {shape!r} and strides {strides!r} differ in length")
    numbers = [offset, *shape, *strides]
    if not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise ValueError(f"a tensor with offset {offset!r}, shape {shape!r}, strides {strides!r}")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_unused: Any) -> Any:
    return data


class _Foreign:
    """Stands for an object that is no tensor; whatever the file does to it has no effect."""

    def __new__(cls, *_args: Any, **_named: Any) -> _Foreign:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def _ignore(self, *_args: Any) -> None:
        pass

    __setitem__ = append = extend = add = _ignore


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _StateUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], path: Path, *, replace_foreign: bool = False) -> None:
        super().__init__(file, encoding="utf-8")
        self._path = path
        self._replace_foreign = replace_foreign
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)  # a new one, since a pickle may write to what it is given
        if (module, name) not in _ALLOWED:
            if self._replace_foreign:
                return type(f"{module}.{name}", (_Foreign,), {})
            raise BundleError(
                f"The file {str(self._path)!r} was refused because it asks for "
                f"{module + '.' + name!r}, which is no part of a dictionary of tensors; "
                "load it only with the program that wrote it, if you trust its source."
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _location, numel, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError(f"an unknown reference {pid!r}")
        if any(part is not None for part in view):
            raise pickle.UnpicklingError(f"a storage that is a view, {pid!r}")
        storage = _Storage(str(key), storage_type, int(numel))
        return self.storages.setdefault(storage.key, storage)


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
    if sha256 is not None:
        _check_digest(path, sha256)
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
        tensors, arrays = read(path, key)
        return {name: _view(tensor, arrays) for name, tensor in tensors.items()}
    except BundleError:
        raise
    except _DAMAGE as error:
        raise BundleError(
            f"The file {str(path)!r} is damaged, truncated or no PyTorch file "
            f"({type(error).__name__}: {error}); get it again."
        ) from None


def _check_digest(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise BundleError(
            f"The file {str(path)!r} must have the SHA-256 {expected!r}, but has {found!r}; "
            "it is damaged or another version: install it again."
        )


def _tensors_of(content: Any, key: str | None, path: Path) -> Mapping[str, _Tensor]:
    if key is not None and isinstance(content, Mapping):
        if key not in content:
            raise BundleError(
                f"The file {str(path)!r} has no entry {key!r}; it has {list(content)[:10]!r}."
            )
        content = content[key]
    if not isinstance(content, Mapping):
        raise BundleError(
            f"The file {str(path)!r} must hold a dictionary of tensors, "
            f"but holds a {type(content).__name__}."
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise BundleError(
                f"The file {str(path)!r} must hold tensors by name, but its entry {name!r} is a "
                f"{type(value).__name__}; if that is where the tensors are, pass key={name!r}."
            )
    return content


_Read = tuple[Mapping[str, _Tensor], dict[str, NDArray[Any]]]


def _read_legacy(path: Path, key: str | None) -> _Read:
    with path.open("rb") as file:
        if _StateUnpickler(file, path).load() != _LEGACY_MAGIC:
            raise pickle.UnpicklingError("it does not start as torch.save would")
        protocol = _StateUnpickler(file, path).load()
        if protocol != _LEGACY_PROTOCOL:
            raise pickle.UnpicklingError(f"an unknown protocol {protocol!r}")
        order = "<" if _StateUnpickler(file, path).load()["little_endian"] else ">"
        unpickler = _StateUnpickler(file, path, replace_foreign=key is not None)
        tensors = _tensors_of(unpickler.load(), key, path)
        needed = {tensor.storage.key for tensor in tensors.values()}
        arrays = {}
        for name in _StateUnpickler(file, path).load():
            storage = unpickler.storages[name]
            (numel,) = struct.unpack(order + "q", file.read(8))
            if numel != storage.numel:
                raise ValueError(f"storage {name!r} has {numel} elements, not {storage.numel}")
            if name in needed:
                arrays[name] = _storage_array(storage, order, file.read)
            else:
                file.seek(numel * np.dtype(_STORAGES[storage.kind.name]).itemsize, os.SEEK_CUR)
    return tensors, arrays


def _read_zip(path: Path, key: str | None) -> _Read:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
        if root is None:
            raise KeyError("data.pkl")
        order = "<"
        if root + "byteorder" in names and archive.read(root + "byteorder") == b"big":
            order = ">"
        with archive.open(root + "data.pkl") as file:
            unpickler = _StateUnpickler(file, path, replace_foreign=key is not None)
            tensors = _tensors_of(unpickler.load(), key, path)
        arrays = {}
        for storage in {tensor.storage.key: tensor.storage for tensor in tensors.values()}.values():
            with archive.open(f"{root}data/{storage.key}") as file:
                arrays[storage.key] = _storage_array(storage, order, file.read)
    return tensors, arrays


def _storage_array(storage: _Storage, order: str, read: Callable[[int], bytes]) -> NDArray[Any]:
    dtype = np.dtype(order + _STORAGES[storage.kind.name])
    size = storage.numel * dtype.itemsize
    raw = read(size)
    if len(raw) != size:
        raise EOFError(f"storage {storage.key!r} has {len(raw)} bytes, not {size}")
    array = np.frombuffer(raw, dtype=dtype)
    if storage.kind.name == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _view(tensor: _Tensor, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    array = arrays[tensor.storage.key]
    if 0 in tensor.shape:
        return np.empty(tensor.shape, array.dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
    # as_strided does not look at bounds: a hostile file would read foreign memory
    if last >= array.size:
        raise ValueError(f"a tensor of shape {tensor.shape} ends at {last} of {array.size}")
    strides = tuple(stride * array.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(array[tensor.offset :], tensor.shape, strides)
    return view.copy()
