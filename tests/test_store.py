"""The store: round trips, growth, damage, several processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time

import lmdb
import numpy as np
import pytest

from fundus.exceptions import StoreError, StoreWarning
from fundus.store import Store, default_location, open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_round_trip(store, dtype):
    array = (np.arange(24).reshape(2, 3, 4) * 7).astype(dtype)
    store.put_many([(b"a", array), (b"scalar", np.array(3, dtype=dtype))])
    found, absent, scalar = store.get_many([b"a", b"b", b"scalar"])
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert absent is None
    assert scalar.shape == ()
    found[:] = 0  # a copy: the store keeps its own
    assert np.array_equal(store.get(b"a"), array)
    assert store.has_many([b"a", b"b"]).tolist() == [True, False]


def test_it_grows_beyond_its_first_map(store, monkeypatch):
    store._env.set_mapsize(1 << 20)
    big = np.arange(1 << 18, dtype=np.float32)
    store.put_many([(bytes([k]), big + k) for k in range(8)])  # 8 MiB
    assert all(np.array_equal(store.get(bytes([k])), big + k) for k in range(8))


def test_a_folder_is_opened_once_and_pickles_as_its_path(store, tmp_path):
    assert open_store(str(tmp_path / "store")) is store
    assert pickle.loads(pickle.dumps(store)) is store
    assert open_store(False) is None


def test_location(monkeypatch, tmp_path):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path / "über"))
    assert default_location() == tmp_path / "über"
    monkeypatch.delenv("FUNDUS_CACHE_DIR")
    assert default_location().name == "fundus-zoo"


def test_a_damaged_entry_is_absent_and_told(tmp_path):
    store = open_store(tmp_path / "store")
    store.put_many([(b"a", np.arange(5)), (b"b", np.arange(3))])
    with store._env.begin(db=store._arrays, write=True) as txn:
        raw = bytearray(txn.get(b"a"))
        raw[-1] ^= 1
        txn.put(b"a", bytes(raw))
        txn.put(b"c", b"short")
    with pytest.warns(StoreWarning, match="damaged entry"):
        assert store.get(b"a") is None
    assert store.get(b"c") is None
    assert store.get(b"b").tolist() == [0, 1, 2]


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="set FUNDUS_CACHE_DIR or cache= to another folder"):
        Store(str(tmp_path / "file" / "store"))


def test_a_failing_disk_is_a_clear_error(store, monkeypatch):
    def fail(action):
        raise lmdb.DiskError("No space left on device")

    monkeypatch.setattr(store, "_retrying", fail)
    with pytest.raises(StoreError, match="No space left on device.*free some disk space"):
        store.put_many([(b"a", np.zeros(1))])


def test_digests_are_remembered_until_the_file_changes(store, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    calls = []

    def digest():
        calls.append(1)
        return f"{len(calls):064d}"

    time.sleep(0.15)  # a file just written is not trusted yet
    assert store.file_digest(str(file), digest) == store.file_digest(str(file), digest)
    assert len(calls) == 1
    file.write_bytes(b"two")
    assert store.file_digest(str(file), digest) == f"{2:064d}"
    # so young a file is hashed again, since it may have changed within the clock's grain
    assert store.file_digest(str(file), digest) == f"{3:064d}"


def _write(folder, start, n):
    store = open_store(folder)
    for k in range(start, start + n):
        store.put_many([(str(k).encode(), np.full(20_000, k, dtype=np.float32))])


def test_two_processes_write_and_a_third_reads(tmp_path):
    folder = tmp_path / "store"
    store = open_store(folder)
    store._env.set_mapsize(1 << 20)  # so that each outgrows what the other has mapped
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(folder, s, 40)) for s in (0, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0]
    assert all(store.get(str(k).encode())[0] == k for k in range(80))


def test_a_killed_writer_leaves_nothing_wrong(tmp_path):
    code = (
        "import sys, numpy as np; from fundus.store import open_store\n"
        "store = open_store(sys.argv[1]); k = 0\n"
        "while True:\n"
        "    store.put_many([(str(k).encode(), np.full(50_000, k % 100, dtype=np.float32))])\n"
        "    print(k, flush=True); k += 1\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
        written = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
    store = open_store(tmp_path / "store")
    for k in written:
        array = store.get(str(k).encode())
        assert array.shape == (50_000,)
        assert (array == k % 100).all()
    store.put_many([(b"after", np.zeros(1))])
    assert store.get(b"after") is not None


def test_inodes_of_any_length(store, tmp_path, monkeypatch):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    stat = os.stat(file)
    long = os.stat_result((*stat[:1], 2**64 + 5, *stat[2:]))

    class Long:
        st_size, st_mtime_ns, st_ctime_ns = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        st_ino = long.st_ino

    monkeypatch.setattr("fundus.store.os.stat", lambda path: Long)
    assert store.file_digest(str(file), lambda: "0" * 64) == "0" * 64
