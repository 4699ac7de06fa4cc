"""What a ``cache=`` parameter means."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from fundus.exceptions import StoreError, StoreWarning, warn_once
from fundus.parameters import invalid
from fundus.runtime.threads import renewed_after_fork
from fundus.store.folder import Store

#: Size of the store unless ``FUNDUS_CACHE_LIMIT`` or `Cache` says otherwise.
DEFAULT_LIMIT = "20GB"

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_open: dict[str, Store] = {}
_open_lock = renewed_after_fork(threading.Lock())


@dataclass(frozen=True)
class Cache:
    """Where frozen work is kept, how much of it, and what happens where that fails.

    Parameters
    ----------
    folder : path, default=None
        ``None`` is ``FUNDUS_CACHE_DIR``, or the user's cache folder.
    limit : str or int, default=None
        Size such as ``"20GB"``, or bytes; ``None`` is ``FUNDUS_CACHE_LIMIT``, or 20 GB. Above it,
        what was not used for longest is removed.
    on_error : {"raise", "warn"}, default="raise"
        Whether work goes on uncached, with a warning, where the disk is full or the folder cannot
        be used.
    dtype : {"float32", "float16"}, default="float32"
        How activations are kept. ``"float16"`` halves the store; the largest rounding error, as a
        share of an array's largest value, stands in ``plan_`` and in ``fundus cache info``.

    Examples
    --------
    >>> Cache(limit="500MB").n_bytes()
    500000000
    """

    folder: Any = None
    limit: str | int | None = None
    on_error: str = "raise"
    dtype: str = "float32"

    def path(self) -> Path:
        """Return the folder.

        Returns
        -------
        Path
        """
        folder = default_location() if self.folder is None else Path(self.folder)
        return folder.expanduser().absolute()

    def n_bytes(self) -> int:
        """Return the limit in bytes.

        Returns
        -------
        int

        Raises
        ------
        InvalidParameterError
            If it cannot be read as a size.
        """
        limit = self.limit
        if limit is None:
            limit = os.environ.get("FUNDUS_CACHE_LIMIT") or DEFAULT_LIMIT
        found = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]B)?\s*", str(limit).upper())
        try:
            assert found is not None
            return int(float(found[1]) * _UNITS[found[2] or ""])
        except (AssertionError, ValueError):
            raise invalid("Cache", "limit", "a size such as '20GB', or bytes", limit) from None


def default_location() -> Path:
    """Folder of the store: ``FUNDUS_CACHE_DIR``, or the user's cache folder."""
    return Path(os.environ.get("FUNDUS_CACHE_DIR") or platformdirs.user_cache_dir("fundus-zoo"))


def open_store(cache: Any) -> Store | None:
    """Open the store that a ``cache=`` parameter means; each folder once per process.

    The parameter is a bool, a path or a `Cache`: ``True`` is ``Cache()``, ``False`` is no store.

    Raises
    ------
    StoreError
        If the folder cannot be used, unless the cache's ``on_error`` is ``"warn"``.
    InvalidParameterError
        If `cache` is none of these.
    """
    if cache is False:
        return None
    if cache is True:
        cache = Cache()
    elif isinstance(cache, (str, os.PathLike)):
        cache = Cache(cache)
    if (
        not isinstance(cache, Cache)
        or cache.on_error not in ("raise", "warn")
        or cache.dtype not in ("float32", "float16")
    ):
        expected = (
            "a bool, a folder or a Cache whose on_error is 'raise' or 'warn' and whose "
            "dtype is 'float32' or 'float16'"
        )
        raise invalid("", "cache", expected, cache)
    path, limit = cache.path(), cache.n_bytes()
    with _open_lock:
        key = str(path)
        if key not in _open or not path.is_dir():
            try:
                _open[key] = Store(path, limit, cache.on_error, cache.dtype)
            except StoreError as error:
                if cache.on_error == "raise":
                    raise
                warn_once(f"{error} Work goes on without a cache.", StoreWarning)
                return None
        return _open[key].with_settings(limit, cache.on_error, cache.dtype)
