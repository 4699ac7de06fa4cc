"""Damaged stores, and stores that several processes share while some are killed.

Run as a program, it is one child: it damages copies of a store and uses them, or works on one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

N_IMAGES, N_FEATURES = 300, 900  # values of 3.6 kB have pages of their own, those of others not
_NAMES = ["ab" * 32, "cd" * 32]


@cache
def _content(k: int, segment: int) -> np.ndarray:
    n = N_FEATURES if segment == 0 else 20
    return np.random.default_rng([k, segment]).normal(size=n).astype(np.float32)


@cache
def _key(k: int) -> bytes:
    return np.random.default_rng(k).bytes(32)


def use(folder: Path, n: int = N_IMAGES) -> tuple[str, int]:
    """Work with a store as a fit does; say how it went, and how many entries were computed."""
    from fundus.store import open_store

    computed = 0
    store = open_store(folder)
    assert store is not None
    files = sorted((folder.parent / "files").iterdir())
    from fundus.store.memo import file_state

    states = [file_state(str(file)) for file in files]
    for found, file in zip(store.digests.known(states), files, strict=True):
        if found not in (None, file.name * 8):
            return "another digest", computed
    store.digests.remember([(s, f.name * 8) for s, f in zip(states, files, strict=True) if s])
    keys = [_key(k) for k in range(n)]
    for segment, name in enumerate(_NAMES):
        kept = store.segment(name, lambda: {"backbone": "made up"})
        with store.claims(name) as claims:
            while not (there := kept.has_many(keys)).all():
                missing = [k for k in range(n) if not there[k]]
                taken, _ = claims.take([keys[k] for k in missing], 20)
                mine = [missing[place] for place in taken]
                # another process may have finished one between the look and the claim
                done = kept.has_many([keys[k] for k in mine])
                new = [k for k, is_done in zip(mine, done, strict=True) if not is_done]
                kept.put_many([(keys[k], _content(k, segment)) for k in new])
                claims.release([keys[k] for k in mine])
                computed += len(new)
                if not taken:
                    time.sleep(0.01)
        for k, array in enumerate(kept.get_many(keys)):
            if array is None:  # damaged: computed again
                kept.put_many([(keys[k], _content(k, segment))])
                computed += 1
            elif array.dtype != np.float32 or not np.array_equal(array, _content(k, segment)):
                return "other numbers", computed
        if any(array is None for array in kept.get_many(keys)):
            return "not kept", computed
    return "the same numbers", computed


def prepare(folder: Path) -> None:
    """Make files with digests, and a store that has been used."""
    (folder / "files").mkdir(parents=True)
    for k in range(40):
        (folder / "files" / f"{k:08d}").write_bytes(b"x")
        os.utime(folder / "files" / f"{k:08d}", (k, k))
    time.sleep(0.2)  # a file just written is not trusted yet
    assert use(folder / "good", N_IMAGES // 2)[0] == "the same numbers"  # in several transactions
    assert use(folder / "good")[0] == "the same numbers"


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Damage one file of a store or all; return what was done."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.stat().st_size)
    kind = str(rng.choice(["cut", "bit", "bits", "garbage", "page", "swap", "all cut", "gone"]))
    if kind == "all cut":
        for file in files:
            os.truncate(file, int(rng.integers(file.stat().st_size)))
        return kind
    large = [f for f in files if f.name == "data.mdb"]
    file = files[int(rng.integers(len(files)))]
    if rng.integers(4):
        file = large[int(rng.integers(len(large)))]
    raw = bytearray(file.read_bytes())
    # most of a file are values: the pages that lead to them are sought out half of the time
    starts = [
        p for p in range(0, len(raw), 4096) if raw[p + 10 : p + 11] in (b"\1", b"\2", b"\x08")
    ]
    start = int(rng.choice(starts)) if starts and rng.integers(2) else None
    place = int(rng.integers(len(raw))) if start is None else start + int(rng.integers(160))
    place = min(place, len(raw) - 1)
    if kind == "cut":
        del raw[place:]
    elif kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else 8):
            raw[min(place + int(rng.integers(64)), len(raw) - 1)] ^= 1 << int(rng.integers(8))
    elif kind == "garbage":
        raw[place : place + 100] = rng.bytes(min(100, len(raw) - place))
    elif kind == "page":
        page = place // 4096 * 4096
        raw[page : page + 4096] = bytes(len(raw[page : page + 4096]))
    elif kind == "swap":
        a, b = (int(k) * 4096 for k in rng.integers(len(raw) // 4096 + 1, size=2))
        first, second = raw[a : a + 4096], raw[b : b + 4096]
        if len(first) == len(second):
            raw[a : a + 4096], raw[b : b + 4096] = second, first
    else:
        file.unlink()
        return f"{kind} {file.name}"
    file.write_bytes(raw)
    return f"{kind} {file.name}"


def _verify(folder: Path) -> int:
    """Describe and check a store; return how many entries were damaged."""
    from fundus.store import open_store

    store = open_store(folder)
    assert store is not None
    store.infos()
    return sum(damaged for _, damaged in store.verify().values())


def _leave(folder: Path) -> None:
    """Close a store, so that it is opened anew."""
    from fundus.store import cache as opened

    store = opened._open.pop(str(folder))
    kept = [segment.environment for segment in store._segments.values()]
    for environment in (store._claims, store.digests._environment, *kept):
        environment._close()


def _refill(folder: Path, rng: np.random.Generator) -> str:
    """Use a damaged store, then check it, use it anew, and clear it."""
    from fundus.store.removal import clear

    done = damage(folder, rng)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = _verify(folder) if rng.integers(2) else 0  # what it removes, it says
        outcome, computed = use(folder)
        if outcome == "not kept":  # a segment was dropped on the way: right numbers all the same
            outcome, more = use(folder)
            computed += more
    repeated = Counter(str(w.message) for w in told).most_common(1)
    if outcome != "the same numbers":
        return f"{outcome} after {done}"
    if repeated and repeated[0][1] > 1:
        return f"told twice after {done}"
    if computed and not told and not found and not done.startswith("gone"):
        return f"computed again without a warning after {done}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _leave(folder)  # as another process would find it
        if use(folder) != ("the same numbers", 0):
            return f"not mended after {done}"
        if _verify(folder):
            return f"still damaged after {done}"
    clear(folder)
    return "computed again" if computed else "all there"


def attack(count: int, seed: int, folder: Path) -> Counter[str]:
    """Damage a store `count` times, and use it each time."""
    prepare(folder)
    return _in_children(["damage", str(folder), str(seed)], count)


def _in_children(arguments: list[str], count: int) -> Counter[str]:
    """Run a child for each stretch of numbers until it dies."""
    outcomes: Counter[str] = Counter()
    k = 0
    while k < count:
        command = [sys.executable, __file__, *arguments, str(k), str(min(k + 500, count))]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment())
        lines = done.stdout.splitlines()
        outcomes.update(json.loads(line) for line in lines)
        k += len(lines)
        if done.returncode:
            outcomes[f"died with {done.returncode} at {k}: {done.stderr[-300:]}"] += 1
            k += 1
    return outcomes


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _damage_some(folder: Path, seed: int, start: int, stop: int) -> None:
    for k in range(start, stop):
        place = folder / f"bad{k}"
        shutil.copytree(folder / "good", place)
        try:
            outcome = _refill(place, np.random.default_rng([seed, k]))
        except Exception as error:
            outcome = f"foreign {type(error).__name__}: {error}"[:300]
        print(json.dumps(outcome), flush=True)
        shutil.rmtree(place)


def share(count: int, seed: int, folder: Path) -> Counter[str]:
    """Let 4 processes work on one store, kill `count` at random moments, and look at the end."""
    rng = np.random.default_rng(seed)
    (folder / "files").mkdir(parents=True)
    outcomes: Counter[str] = Counter()
    store = folder / "shared"
    running: list[subprocess.Popen[str]] = []
    started = 0

    def start() -> None:
        nonlocal started
        started += 1
        command = [sys.executable, __file__, "work", str(store), str(started)]
        running.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(),
            )
        )

    def finish(process: subprocess.Popen[str]) -> None:
        out, err = process.communicate()
        last = out.splitlines()[-1] if process.returncode == 0 and out else err[-300:]
        outcomes["killed" if process.returncode == -signal.SIGKILL else last] += 1

    while outcomes["killed"] < count:
        while len(running) < 4:
            start()
        time.sleep(float(rng.uniform(0.02, 0.3)))
        victim = running.pop(int(rng.integers(len(running))))
        victim.kill()
        finish(victim)
    for process in running:
        finish(process)
    start()
    finish(running[-1])
    return outcomes


def left_behind(folder: Path) -> dict[str, Any]:
    """Say what a store has after `share`: entries by segment with damaged ones, and lock files."""
    from fundus.store import open_store

    store = open_store(folder / "shared")
    assert store is not None
    for file in (folder / "shared/workers").glob("*.lock"):
        os.utime(file, (0, 0))  # as if a minute had passed
    keys = [_key(k) for k in range(N_IMAGES)]
    with store.claims(_NAMES[0]):
        pass
    return {
        "verified": store.verify(),
        "all": [bool(store.segment(name, dict).has_many(keys).all()) for name in _NAMES],
        "locks": len(list((folder / "shared/workers").glob("*.lock"))),
        "claims": len(store._claims),
    }


def _work(store: Path, number: int) -> None:
    """Use a store again and again, each time with more entries or with a clear before."""
    from fundus.store.removal import clear

    rng = np.random.default_rng(number)
    for _ in range(10):
        if rng.integers(8) == 0:
            clear(store)
        outcome, _ = use(store, int(rng.integers(1, N_IMAGES + 1)))
        if outcome not in ("the same numbers", "not kept"):  # another process may have cleared it
            print(outcome)
            return
    print(use(store)[0])


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "damage":
        _damage_some(Path(rest[0]), *map(int, rest[1:]))
    else:
        _work(Path(rest[0]), int(rest[1]))
