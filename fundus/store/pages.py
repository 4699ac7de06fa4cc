"""Check the pages of an LMDB file, because LMDB itself trusts them.

LMDB reads its file as memory: a page number or an offset that is wrong makes it read or write
somewhere else, which ends the process (a file that is cut short: SIGBUS) or spoils other entries.
So the tree of a snapshot is walked once when a file is opened. Values are not read: they have
checksums. The walk takes some milliseconds for each 10,000 entries.

The layout is that of LMDB 0.9 on a 64-bit machine (``mdb.c``: MDB_meta, MDB_db, MDB_page,
MDB_node); elsewhere nothing is checked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fundus.store.metas import HEADER, PAGE, DamagedError, Meta, Tree, read_metas, require

_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG = 1  # a node whose value has pages of its own
_NODE = 8  # bytes at the start of a node
_LONGEST_KEY = 511
_CHUNK = 2048  # pages that are looked at together


def check_tree(path: Path, transaction: int, *, deep: bool = False) -> int:
    """Check all pages of one snapshot, which a transaction must keep from being changed.

    Parameters
    ----------
    path : Path
        The data file.
    transaction : int
        Number of the transaction that wrote the snapshot.
    deep : bool, default=False
        Also look at the first page of each large value, which matters when one is replaced.

    Returns
    -------
    int
        Bytes that the file must have.

    Raises
    ------
    DamagedError
        If a page is missing, used twice or not as LMDB writes it.
    """
    with path.open("rb") as file:
        meta = read_metas(file)[transaction & 1]
        if meta.transaction != transaction:
            raise DamagedError("its newest page of contents is not the right one")
        size = os.fstat(file.fileno()).st_size
        pages = _Pages(file, meta, size // meta.page_size)
        main = _walk(pages, meta.main, int_keys=False)
        free = _walk(pages, meta.free, int_keys=True)
        runs = [*main.runs, *free.runs]
        used = _Runs.of(runs)
        if deep:
            used = _Runs.of([*runs, *_rest(pages, [*main.big, *free.big])])
        _check_free(pages, free, used, meta)
    return used.end * meta.page_size


class _Pages:
    """The pages of a file, by number."""

    def __init__(self, file: Any, meta: Meta, present: int) -> None:
        self._file, self.size = file, meta.page_size
        self.present = min(present, meta.last + 1)

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read some pages, shape (n, page size)."""
        order = np.argsort(numbers)
        ranked = numbers[order]
        found = np.empty((len(numbers), self.size), np.uint8)
        starts = np.flatnonzero(np.diff(ranked, prepend=-2) != 1)
        for start, stop in zip(starts, [*starts[1:], len(ranked)], strict=True):
            raw = self.bytes(int(ranked[start]), 0, int(stop - start) * self.size)
            found[order[start:stop]] = np.frombuffer(raw, np.uint8).reshape(-1, self.size)
        return found

    def bytes(self, number: int, offset: int, n: int) -> bytes:
        """Read bytes at an offset in a page."""
        self._file.seek(number * self.size + offset)
        raw = self._file.read(n)
        require(len(raw) == n, "it is cut short")
        return raw

    def check_numbers(self, numbers: NDArray[np.uint64], lengths: Any = 1) -> NDArray[np.int64]:
        """Return page numbers as signed ones, once they are known to be in the file."""
        require(
            bool(((numbers >= 2) & (numbers < 1 << 48)).all()), "a page has an impossible number"
        )
        signed = numbers.astype(np.int64)
        require(bool((signed + lengths <= self.present).all()), "it is cut short")
        return signed


@dataclass(frozen=True)
class _Runs:
    """Runs of pages that are in use, none twice: sorted starts, and the ends after them."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, runs: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> _Runs:
        starts = np.concatenate([np.zeros(1, np.int64), *(s for s, _ in runs)])
        ends = starts + np.concatenate([np.full(1, 2), *(n for _, n in runs)])
        order = np.argsort(starts)
        require(bool((ends[order][:-1] <= starts[order][1:]).all()), "a page is used twice")
        return cls(starts[order], ends[order])

    @property
    def end(self) -> int:
        return int(self.ends[-1])

    def holds(self, numbers: NDArray[np.int64]) -> bool:
        """Whether any of some pages is in use."""
        place = np.searchsorted(self.starts, numbers, side="right") - 1
        return bool((numbers < self.ends[place]).any())


@dataclass
class _Walked:
    """What a tree was found to use: runs of pages, and its large values."""

    runs: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    big: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    #: Of the tree of free pages: the values, each where it is.
    values: list[Callable[[], bytes]]


@dataclass(frozen=True)
class _Nodes:
    """The nodes of some pages, one after the other."""

    rows: NDArray[np.int64]  # of the page
    keys: list[bytes]
    low: NDArray[np.int64]  # the first 4 bytes, a size or part of a page number
    flags: NDArray[np.int64]
    data: NDArray[np.int64]  # where the data start, in all pages together
    flat: NDArray[np.uint8]

    def words(self, where: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Numbers of 8 bytes at some places."""
        return self.flat[where[:, None] + np.arange(8)].view("<u8")[:, 0]


def _walk(pages: _Pages, tree: Tree, *, int_keys: bool) -> _Walked:
    """Walk a tree, level by level from its root."""
    walked = _Walked([], [], [])
    if tree.depth == 0:
        return walked
    level = pages.check_numbers(np.array([tree.root], np.uint64))
    levels: list[tuple[list[bytes], NDArray[np.int64]]] = []
    for _ in range(tree.depth - 1):
        children: list[NDArray[np.int64]] = []
        keys: list[bytes] = []
        counts: list[NDArray[np.int64]] = []
        for part in _parts(level):
            nodes = _nodes(pages, part, _BRANCH)
            number = nodes.low.astype(np.uint64) | (nodes.flags.astype(np.uint64) << np.uint64(32))
            children.append(pages.check_numbers(number))
            keys += nodes.keys
            counts.append(np.bincount(nodes.rows, minlength=len(part)))
        walked.runs.append((level, np.ones_like(level)))
        level = np.concatenate(children)
        _Runs.of([*walked.runs, (level, np.ones_like(level))])  # so that a loop ends here
        levels.append((keys, np.concatenate(counts)))
    firsts, lasts = _leaves(pages, level, walked, tree, int_keys)
    walked.runs.append((level, np.ones_like(level)))
    for branch_keys, n_children in reversed(levels):
        firsts, lasts = _separated(branch_keys, n_children, firsts, lasts, int_keys)
    return walked


def _parts(level: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(level, range(_CHUNK, len(level), _CHUNK))


def _leaves(
    pages: _Pages, level: NDArray[np.int64], walked: _Walked, tree: Tree, int_keys: bool
) -> tuple[list[bytes], list[bytes]]:
    """Check the leaves; return the first and the last key of each."""
    firsts: list[bytes] = []
    lasts: list[bytes] = []
    n_entries = 0
    for part in _parts(level):
        nodes = _nodes(pages, part, _LEAF)
        n_entries += len(nodes.keys)
        big = nodes.flags == _BIG
        where = nodes.data[big]
        lengths = (HEADER - 1 + nodes.low[big]) // pages.size + 1
        numbers = pages.check_numbers(nodes.words(where), lengths)
        walked.runs.append((numbers, lengths))
        walked.big.append((numbers, lengths))
        if int_keys:
            walked.values += _values(pages, nodes, big, numbers)
        ends = np.flatnonzero(np.diff(nodes.rows, append=-1))
        starts = [0, *(ends[:-1] + 1)]
        firsts += [nodes.keys[k] for k in starts]
        lasts += [nodes.keys[k] for k in ends]
        ranks = [_rank(key, int_keys) for key in nodes.keys]
        inside = all(a < b for a, b in pairwise(ranks))
        require(inside, "its keys are not in order")
    between = zip(lasts, firsts[1:], strict=False)
    ordered = all(_rank(a, int_keys) < _rank(b, int_keys) for a, b in between)
    require(ordered, "its keys are not in order")
    require(n_entries == tree.entries, "its number of entries is not the right one")
    return firsts, lasts


def _values(
    pages: _Pages, nodes: _Nodes, big: NDArray[np.bool_], numbers: NDArray[np.int64]
) -> list[Callable[[], bytes]]:
    elsewhere = iter(numbers.tolist())
    values: list[Callable[[], bytes]] = []
    for place, size, is_big in zip(nodes.data, nodes.low.tolist(), big, strict=True):
        if is_big:
            number = next(elsewhere)
            values.append(partial(pages.bytes, number, HEADER, size))
        else:
            raw = nodes.flat[place : place + size].tobytes()
            values.append(partial(bytes, raw))
    return values


def _separated(
    keys: list[bytes],
    counts: NDArray[np.int64],
    firsts: list[bytes],
    lasts: list[bytes],
    int_keys: bool,
) -> tuple[list[bytes], list[bytes]]:
    """Check that the keys of branches separate the pages below; return firsts and lasts of them."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    first_of_page = set(starts.tolist())
    for k, key in enumerate(keys):
        if k not in first_of_page:  # the first key of a branch page is not used
            rank = _rank(key, int_keys)
            apart = _rank(lasts[k - 1], int_keys) < rank <= _rank(firsts[k], int_keys)
            require(apart, "its branches do not lead to their keys")
    return [firsts[k] for k in starts[:-1]], [lasts[k - 1] for k in starts[1:]]


def _rank(key: bytes, int_keys: bool) -> Any:
    return int.from_bytes(key, "little") if int_keys else key


def _nodes(pages: _Pages, numbers: NDArray[np.int64], kind: int) -> _Nodes:
    """Read the nodes of some pages of one kind, and check that all lie inside them."""
    size = pages.size
    raw = pages.read(numbers)
    heads = np.frombuffer(
        raw[:, :HEADER].tobytes(),
        [("number", "<u8"), ("pad", "<u2"), ("flags", "<u2"), ("lower", "<u2"), ("upper", "<u2")],
    )
    lower, upper = heads["lower"].astype(np.int64), heads["upper"].astype(np.int64)
    require(bool((heads["number"] == numbers).all()), "a page has the number of another")
    require(bool((heads["flags"] == kind).all()), "a page is of the wrong kind")
    filled = (lower % 2 == 0) & (lower <= upper) & (upper <= size)
    counts = (lower - HEADER) // 2
    fewest = 2 if kind == _BRANCH else 1
    require(bool((filled & (counts >= fewest)).all()), "a page has impossible bounds")
    most = int(counts.max())
    pointers = raw[:, HEADER : HEADER + 2 * most].copy().view("<u2").astype(np.int64)
    rows, columns = np.nonzero(np.arange(most) < counts[:, None])
    offsets = pointers[rows, columns]
    inside = (offsets % 2 == 0) & (offsets >= upper[rows]) & (offsets + _NODE <= size)
    require(bool(inside.all()), "a page points outside itself")
    flat = raw.reshape(-1)
    base = rows * size + offsets
    words = flat.view("<u2")
    low, high, flags, key_size = (words[base // 2 + k].astype(np.int64) for k in range(4))
    low |= high << 16
    data_size = np.zeros_like(low)
    if kind == _LEAF:
        require(bool((flags <= _BIG).all()), "an entry is of a kind that is not used here")
        data_size = np.where(flags == _BIG, 8, low)
    keys_fit = (key_size >= (columns > 0 if kind == _BRANCH else 1)) & (key_size <= _LONGEST_KEY)
    length = _NODE + key_size + data_size
    fits = keys_fit & (offsets + length <= size)
    require(bool(fits.all()), "an entry reaches beyond its page")
    filling = np.bincount(rows, weights=length + length % 2, minlength=len(numbers))
    require(bool((filling == size - upper).all()), "the entries of a page overlap")
    starts = (base + _NODE).tolist()
    content = flat.tobytes()
    keys = [content[s : s + n] for s, n in zip(starts, key_size.tolist(), strict=True)]
    return _Nodes(rows, keys, low, flags, base + _NODE + key_size, flat)


def _rest(
    pages: _Pages, big: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pages that large values have beyond those they need, by what stands in their first one.

    LMDB frees as many pages as stands there.
    """
    rest = []
    for numbers, lengths in big:
        heads = [PAGE.unpack(pages.bytes(k, 0, HEADER)) for k in numbers.tolist()]
        for number, (found, _, flags, _, _) in zip(numbers.tolist(), heads, strict=True):
            require((found, flags) == (number, _OVERFLOW), "a large entry has no page of its own")
        full = np.array([low | high << 16 for *_, low, high in heads], np.int64)
        require(bool((full >= lengths).all()), "a large entry has too few pages")
        pages.check_numbers(numbers.astype(np.uint64), full)
        more = full > lengths
        rest.append(((numbers + lengths)[more], (full - lengths)[more]))
    return rest


def _check_free(pages: _Pages, free: _Walked, used: _Runs, meta: Meta) -> None:
    """Check the lists of free pages, and that the file ends where it should."""
    lists = []
    for value in free.values:
        raw = value()
        require(len(raw) >= 8 and len(raw) % 8 == 0, "a list of free pages has no length")
        count, *_ = struct.unpack_from("<Q", raw)
        require(count <= len(raw) // 8 - 1, "a list of free pages is too long")
        lists.append(np.frombuffer(raw, "<u8", count=count, offset=8))
        descending = lists[-1][:-1] > lists[-1][1:]
        require(bool(descending.all()), "a list of free pages is not in order")
    together = np.concatenate(lists) if lists else np.zeros(0, np.uint64)
    inside = bool(((together >= 2) & (together <= meta.last)).all())
    require(inside, "a free page has an impossible number")
    numbers = together.astype(np.int64)
    require(len(np.unique(numbers)) == len(numbers), "a page is free twice")
    require(not used.holds(numbers), "a page is free and in use")
    # pages at the end that were given back before they were written need not be there
    missing = meta.last + 1 - pages.present
    require(int((numbers >= pages.present).sum()) == missing, "it is cut short")
