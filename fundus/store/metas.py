"""The first two pages of an LMDB file: its sizes, and where its trees begin."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

#: Whether this machine's LMDB files have the layout that is known here.
KNOWN_LAYOUT = sys.byteorder == "little" and struct.calcsize("P") == 8 and lmdb.version()[0] == 0

_MAGIC, _VERSION = 0xBEEFC0DE, 1

HEADER = 16  # bytes at the start of a page
PAGE = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
_META = struct.Struct("<II8s8s")  # magic, version, address, map size
_TREE = struct.Struct("<IHHQQQQQ")  # pad, flags, depth, branch, leaf, overflow, entries, root
_ENDS = struct.Struct("<QQ")  # last page, transaction
_META_SIZE = HEADER + _META.size + 2 * _TREE.size + _ENDS.size
_META_FLAG, _INTEGER_KEYS, _NO_ROOT = 8, 8, 2**64 - 1


class DamagedError(Exception):
    """A file that LMDB must not be given; the message says what is wrong with it."""


@dataclass(frozen=True)
class Tree:
    """A tree of pages, as the first pages describe it."""

    flags: int
    depth: int
    entries: int
    root: int


@dataclass(frozen=True)
class Meta:
    """One of the two first pages: a snapshot of the file's contents."""

    page_size: int
    free: Tree
    main: Tree
    last: int
    transaction: int


def check_metas(path: Path) -> bool:
    """Check the first two pages; return whether there is anything in the file.

    Raises
    ------
    DamagedError
        If LMDB would be led astray by them.
    """
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        read_metas(file)
    return True


def require(holds: bool, otherwise: str) -> None:
    """Raise a DamagedError unless something holds."""
    if not holds:
        raise DamagedError(otherwise)


def read_metas(file: Any) -> list[Meta]:
    """Read the first two pages of an open file, by the parity of their transaction."""
    first = _meta(file, 0, 0)
    metas = [first, _meta(file, first.page_size, 1)]
    require(metas[1].page_size == first.page_size, "its first pages differ in size")
    # otherwise the newest one would not be found, and the contents of the last one but one be read
    apart = metas[1].transaction - first.transaction
    require(abs(apart) == 1 or (apart == 0 == first.transaction), "its first pages do not follow")
    newest = metas[metas[1].transaction > first.transaction]
    require(newest is metas[newest.transaction & 1], "its first pages are in the wrong order")
    return metas


def _meta(file: Any, offset: int, number: int) -> Meta:
    file.seek(offset)
    raw = file.read(_META_SIZE)
    require(len(raw) == _META_SIZE, "it is cut short")
    found, _, page_flags, _, _ = PAGE.unpack_from(raw)
    magic, version, address, _ = _META.unpack_from(raw, HEADER)
    known = (found, page_flags, magic, version) == (number, _META_FLAG, _MAGIC, _VERSION)
    require(known and not any(address), "it is no file of LMDB")
    at = HEADER + _META.size
    page_size, *_ = _TREE.unpack_from(raw, at)
    trees = []
    for k, flags in enumerate((_INTEGER_KEYS, 0)):
        _, found_flags, depth, _, _, _, entries, root = _TREE.unpack_from(raw, at + k * _TREE.size)
        require(found_flags == flags, "it is of a kind that is not used here")
        require((root == _NO_ROOT) == (depth == 0) and depth < 32, "its depth is impossible")
        require(depth > 0 or entries == 0, "its number of entries is impossible")
        trees.append(Tree(found_flags, depth, entries, root))
    last, transaction = _ENDS.unpack_from(raw, at + 2 * _TREE.size)
    require(page_size in {1 << k for k in range(9, 16)}, "its page size is impossible")
    require(last < 1 << 40, "its number of pages is impossible")
    return Meta(page_size, trees[0], trees[1], last, transaction)
