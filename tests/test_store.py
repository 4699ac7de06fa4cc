"""The store: round trips, growth, damage, eviction, several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import time

import lmdb
import numpy as np
import pytest

from fundus import FeatureExtractor, SoftmaxHead, TransferClassifier
from fundus.data.inputs import as_images
from fundus.exceptions import InvalidParameterError, StoreError, StoreWarning
from fundus.frozen.work import digests
from fundus.store import Cache, default_location, open_store

NAME = "0" * 64


def about():
    return {"backbone": "tiny"}


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


@pytest.fixture
def segment(store):
    return store.segment(NAME, about)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_round_trip(segment, dtype):
    array = (np.arange(24).reshape(2, 3, 4) * 7).astype(dtype)
    segment.put_many([(b"a", array), (b"scalar", np.array(3, dtype=dtype))])
    found, absent, scalar = segment.get_many([b"a", b"b", b"scalar"])
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert absent is None
    assert scalar.shape == ()
    found[:] = 0  # a copy: the store keeps its own
    assert np.array_equal(segment.get_many([b"a"])[0], array)
    assert segment.has_many([b"a", b"b"]).tolist() == [True, False]


def test_it_grows_beyond_its_first_map(segment):
    segment.environment._env.set_mapsize(1 << 20)
    big = np.arange(1 << 18, dtype=np.float32)
    segment.put_many([(bytes([k]), big + k) for k in range(8)])  # 8 MiB
    assert all(
        np.array_equal(a, big + k)
        for k, a in enumerate(segment.get_many([bytes([k]) for k in range(8)]))
    )


def test_a_folder_is_opened_once(store, tmp_path):
    again = open_store(Cache(str(tmp_path / "store"), limit="1GB"))
    assert again.limit == 10**9 != store.limit
    assert again.digests is store.digests
    opened = store.segment(NAME, about).environment
    assert again.segment(NAME, about).environment is opened
    assert open_store(False) is None
    assert store.segment(NAME, about).environment is opened


def test_two_caches_in_one_folder_keep_their_settings(store):
    first = store.segment(NAME, about)
    other = store.with_settings(store.limit // 2, "warn", "float16")
    second = other.segment(NAME, about, half=True)
    assert second.environment is first.environment
    assert (first.store.limit, first.store.on_error, first.half) == (store.limit, "raise", False)
    assert (second.store.limit, second.store.on_error) == (store.limit // 2, "warn")
    array = np.array([1.0, 1.0001], np.float32)
    second.put_many([(b"a", array)])
    first.put_many([(b"b", array)])
    rounded, exact = first.get_many([b"a", b"b"])
    assert rounded[1] == 1.0
    assert np.array_equal(exact, array)


def test_location_and_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("FUNDUS_CACHE_DIR", str(tmp_path / "über"))
    assert default_location() == tmp_path / "über"
    assert open_store(True).path == tmp_path / "über"
    monkeypatch.delenv("FUNDUS_CACHE_DIR")
    assert default_location().name == "fundus-zoo"
    assert Cache().n_bytes() == 20 * 10**9
    monkeypatch.setenv("FUNDUS_CACHE_LIMIT", "1.5 mb")
    assert Cache().n_bytes() == 1_500_000
    assert Cache(limit=7).n_bytes() == 7
    assert pickle.loads(pickle.dumps(Cache(tmp_path))) == Cache(tmp_path)


@pytest.mark.parametrize("cache", [Cache(limit="much"), Cache(on_error="ignore"), 3, None])
def test_what_no_cache_is(cache, photographs):
    with pytest.raises(InvalidParameterError, match=r"'(cache|limit)' parameter"):
        FeatureExtractor("tiny", weights="fixed", cache=cache).fit_transform(photographs.paths[:2])


def damage(segment, key):
    with segment.environment._env.begin(write=True) as txn:
        raw = bytearray(txn.get(key))
        raw[-1] ^= 1
        txn.put(key, bytes(raw))


def test_a_damaged_entry_is_absent_and_told(segment):
    segment.put_many([(b"a", np.arange(5)), (b"b", np.arange(3))])
    damage(segment, b"a")
    segment.environment.write([(b"c", b"short")])
    with pytest.warns(StoreWarning, match="damaged entry"):
        a, b, c = segment.get_many([b"a", b"b", b"c"])
    assert a is None
    assert c is None
    assert b.tolist() == [0, 1, 2]


def test_verify_removes_what_is_damaged(store, segment):
    segment.put_many([(bytes([k]), np.arange(k)) for k in range(5)])
    damage(segment, bytes([3]))
    assert store.verify() == {NAME[:32]: (5, 1)}
    assert store.verify() == {NAME[:32]: (4, 0)}
    assert segment.has_many([bytes([k]) for k in range(5)]).tolist() == [1, 1, 1, 0, 1]


def test_the_least_used_is_evicted(store):
    rng = np.random.default_rng(0)
    for k, name in enumerate("abc"):
        store.segment(name * 64, about).put_many([(b"x", rng.random(50_000))])
        os.utime(store.path / "segments" / (name * 32), (k, k))
    os.utime(store.path / "segments" / ("a" * 32), (9, 9))  # used after the others
    sizes = {info.name[0]: info.n_bytes for info in store.infos()}
    assert [info.name[0] for info in store.infos()] == ["a", "c", "b"]
    store.limit = sizes["a"] + sizes["c"]
    store.make_room()
    assert [info.name[0] for info in store.infos()] == ["a", "c"]
    store.limit = sizes["c"]
    store.make_room(keep="c" * 64)
    assert [info.name[0] for info in store.infos()] == ["c"]
    store.limit = 10
    with pytest.raises(StoreError, match=r"limited to 10 bytes.*FUNDUS_CACHE_LIMIT"):
        store.make_room(keep="c" * 64)
    assert store.clear() > 0
    assert store.infos() == []
    # a segment that another process removed is made again
    assert store.segment("c" * 64, about).has_many([b"x"]).tolist() == [False]


@pytest.mark.slow
def test_a_limit_holds_while_features_are_made(photographs, tmp_path):
    cache = Cache(tmp_path, limit=400_000)
    for size in (32, 40, 48, 56, 64):
        extractor = FeatureExtractor("tiny", weights="fixed", image_size=size, cache=cache)
        extractor.fit_transform(photographs.paths)
    infos = open_store(cache).infos()
    assert sum(info.n_bytes for info in infos) <= 400_000
    assert infos[0].about["image_size"] == 64


def test_an_unusable_folder(tmp_path, photographs):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="set FUNDUS_CACHE_DIR or cache= to another folder"):
        open_store(tmp_path / "file" / "store")
    cache = Cache(tmp_path / "file" / "store", on_error="warn")
    extractor = FeatureExtractor("tiny", weights="fixed", cache=cache)
    with pytest.warns(StoreWarning, match="without a cache"):
        F = extractor.fit_transform(photographs.paths[:3])
    assert F.shape == (3, 16)


def test_a_newer_format_is_refused(tmp_path):
    (tmp_path / "format").write_text("99")
    with pytest.raises(StoreError, match="has format 99.*upgrade fundus-zoo"):
        open_store(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["all", 4, 0])
def test_a_full_disk(photographs, tmp_path, monkeypatch, freeze):
    """A clear error, or work goes on uncached where the user allows it."""
    X, y = photographs.paths[:8], [0, 1] * 4
    options = {
        "weights": "fixed", "freeze": freeze, "epochs": 1, "random_state": 0,
        "validation_fraction": 0.0,
    }  # fmt: skip
    head = SoftmaxHead(units=4, layers=1)
    expected = TransferClassifier("tiny", head, cache=False, **options).fit(X, y).predict_proba(X)

    def full(self, action):
        def failing():
            raise lmdb.DiskError("No space left on device")

        return original(self, failing)

    from fundus.store.environment import Environment

    original = Environment._guarded
    monkeypatch.setattr(Environment, "_guarded", full)
    model = TransferClassifier("tiny", head, cache=Cache(tmp_path / "a"), **options)
    with pytest.raises(StoreError, match="No space left on device.*free some disk space"):
        model.fit(X, y)
    model = TransferClassifier("tiny", head, cache=Cache(tmp_path, on_error="warn"), **options)
    with pytest.warns(StoreWarning, match="The work continues without it"):
        model.fit(X, y)
    assert np.allclose(model.predict_proba(X), expected, atol=1e-4)


def test_digests_are_remembered_until_the_file_changes(store, tmp_path, monkeypatch, photographs):
    import fundus.data.inputs as inputs

    files = [str(tmp_path / "a.jpeg"), str(tmp_path / "b.jpeg")]
    whole = [open_bytes(path) for path in photographs.paths[:3]]
    for file, content in zip(files, whole, strict=False):
        with open(file, "wb") as target:
            target.write(content)
    read = []
    original = inputs.image_digest
    monkeypatch.setattr(inputs, "image_digest", lambda b: read.append(1) or original(b))
    time.sleep(0.15)  # a file just written is not trusted yet
    first = digests(as_images(files), store)
    assert digests(as_images(files), store) == first
    assert len(read) == 2
    with open(files[0], "wb") as target:
        target.write(whole[2])
    changed = digests(as_images(files), store)
    assert changed[0] != first[0]
    assert changed[1] == first[1]
    # so young a file is hashed again, since it may have changed within the clock's grain
    digests(as_images(files), store)
    assert len(read) == 4


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def test_inodes_of_any_length(tmp_path, monkeypatch):
    from fundus.store.memo import file_state

    class Long:
        st_size, st_mtime_ns, st_ctime_ns, st_ino = 1, 2, 3, 2**64 + 5

    monkeypatch.setattr("fundus.store.memo.os.stat", lambda path: Long)
    assert file_state("a.jpg").changed_ns == 3


def _write(folder, start, n):
    segment = open_store(folder).segment(NAME, about)
    for k in range(start, start + n):
        segment.put_many([(str(k).encode(), np.full(20_000, k, dtype=np.float32))])


@pytest.mark.slow
def test_two_processes_write_and_a_third_reads(tmp_path):
    folder = tmp_path / "store"
    segment = open_store(folder).segment(NAME, about)
    segment.environment._env.set_mapsize(1 << 20)  # so that each outgrows what others have mapped
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(folder, s, 40)) for s in (0, 40)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [w.exitcode for w in writers] == [0, 0]
    found = segment.get_many([str(k).encode() for k in range(80)])
    assert all(array[0] == k for k, array in enumerate(found))


def test_a_killed_writer_leaves_nothing_wrong(tmp_path):
    code = (
        "import sys, numpy as np; from fundus.store import open_store\n"
        "segment = open_store(sys.argv[1]).segment('0' * 64, dict); k = 0\n"
        "while True:\n"
        "    segment.put_many([(str(k).encode(), np.full(50_000, k % 100, dtype=np.float32))])\n"
        "    print(k, flush=True); k += 1\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) as process:
        written = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
    store = open_store(tmp_path / "store")
    segment = store.segment(NAME, about)
    for k, array in zip(written, segment.get_many([str(k).encode() for k in written]), strict=True):
        assert array.shape == (50_000,)
        assert (array == k % 100).all()
    segment.put_many([(b"after", np.zeros(1))])
    assert segment.has_many([b"after"]).all()
    assert store.verify()[NAME[:32]][1] == 0


def test_a_segment_says_what_made_it(photographs, tmp_path):
    FeatureExtractor("tiny", weights="fixed", cache=tmp_path).fit_transform(photographs.paths[:2])
    (info,) = open_store(tmp_path).infos()
    assert info.about["backbone"] == "tiny"
    assert json.loads((tmp_path / "segments" / info.name / "about.json").read_text()) == info.about


def test_half_precision_measures_its_error(store):
    segment = store.segment(NAME, about, half=True)
    array = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    segment.put_many([(b"a", array), (b"bytes", np.arange(3, dtype=np.uint8))])
    found, whole = segment.get_many([b"a", b"bytes"])
    assert found.dtype == np.float32
    assert np.array_equal(found, array.astype(np.float16).astype(np.float32))
    assert whole.dtype == np.uint8
    error = np.abs(found - array).max() / np.abs(array).max()
    assert 0 < error < 2**-11
    assert segment.rounding_error == pytest.approx(error)
    segment.note_rounding()
    segment.note_rounding()
    (info,) = store.infos()
    assert info.about == {"backbone": "tiny", "rounding_error": pytest.approx(error)}


def test_half_precision_refuses_what_it_cannot_hold(store):
    segment = store.segment(NAME, about, half=True)
    with pytest.raises(StoreError, match=r"7e\+04 is too large for float16"):
        segment.put_many([(b"a", np.array([1, -7e4], dtype=np.float32))])
    assert not segment.has_many([b"a"]).any()


def test_half_precision_is_a_cache_of_its_own(photographs, tmp_path):
    options = {"weights": "fixed"}
    extract = FeatureExtractor("tiny", cache=tmp_path, **options)
    whole = extract.fit_transform(photographs.paths)
    half = extract.set_params(cache=Cache(tmp_path, dtype="float16")).fit_transform(
        photographs.paths
    )
    assert half.dtype == np.float32
    assert 0 < np.abs(half - whole).max() < 2**-11 * np.abs(whole).max()
    infos = open_store(tmp_path).infos()
    assert [info.about.get("dtype") for info in infos] == ["float16", None]
    assert 0 < infos[0].about["rounding_error"] < 2**-11
    assert np.array_equal(extract.set_params(cache=tmp_path).transform(photographs.paths), whole)


def test_damaged_claims_are_thrown_away(tmp_path):
    folder = tmp_path / "store"
    open_store(folder)
    code = (
        "import sys; from fundus.store import open_store\n"
        "with open_store(sys.argv[1]).claims('0' * 64) as claims: print(claims.take([b'a'], 1))"
    )
    (folder / "claims" / "data.mdb").write_bytes(b"no database" * 1000)
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "([0], 1)"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room can be reserved")
def test_the_file_of_readers_has_its_room_on_the_disk(tmp_path):
    from fundus.store.environment import Environment

    Environment(tmp_path, tmp_path).write([(b"key", b"value")])
    found = (tmp_path / "lock.mdb").stat()
    assert found.st_blocks * 512 >= found.st_size > 0  # no holes, which a full disk cannot fill


def test_a_segment_that_another_process_removes_meanwhile_is_opened_again(tmp_path, monkeypatch):
    """Its folder goes away between the note and the use of it, once."""
    import shutil

    from fundus.store import folder

    real, removed = os.utime, []

    def gone(path, *arguments):
        if not removed:
            removed.append(path)
            shutil.rmtree(path)
        real(path, *arguments)

    monkeypatch.setattr(folder.os, "utime", gone)
    store = open_store(tmp_path)
    segment = store.segment("ab" * 16, lambda: {"of": "nothing"})
    segment.put_many([(b"k" * 32, np.ones(2, np.float32))])
    assert removed
    np.testing.assert_array_equal(segment.get_many([b"k" * 32])[0], np.ones(2))
