"""Whatever is damaged in a store is computed again; nothing else is touched."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from attacks import stores

from fundus import FeatureExtractor
from fundus.exceptions import StoreError, StoreWarning
from fundus.store import Cache, cache, open_store
from fundus.store.claims import _SETTLED
from fundus.store.entries import pack, unpack
from fundus.store.environment import Environment
from fundus.store.memo import file_state
from fundus.store.metas import DamagedError
from fundus.store.pages import check_tree
from fundus.store.removal import clear

NAME = "0" * 64


def about():
    return {"backbone": "tiny"}


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.soak)])
def test_a_damaged_store_gives_the_same_numbers(count, tmp_path, record_property):
    outcomes = stores.attack(count, 0, tmp_path)
    assert set(outcomes) <= {"computed again", "all there"}, outcomes
    assert outcomes.total() == count
    assert outcomes["computed again"] > count // 20
    record_property(
        "promise",
        "A store that is damaged anywhere gives the same numbers: what is lost is computed again.",
    )
    record_property("did", "files cut, bits flipped, pages swapped or filled with garbage")
    record_property("times", count)
    record_property(
        "outcome",
        f"the same numbers {count:,} times, {outcomes['computed again']:,} of them computed again",
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_processes_that_are_killed_leave_a_shared_store_right(count, tmp_path, record_property):
    outcomes = stores.share(count, 0, tmp_path)
    assert set(outcomes) == {"killed", "the same numbers"}, outcomes
    assert outcomes["killed"] == count
    left = stores.left_behind(tmp_path)
    n = stores.N_IMAGES
    assert left["all"] == [True, True]
    assert list(left["verified"].values()) == [(n, 0), (n, 0)]
    assert left["locks"] == left["claims"] == 0
    record_property(
        "promise", "4 processes share one store, and one that is killed loses and spoils nothing."
    )
    record_property("did", "4 processes fill and clear one store; one is killed again and again")
    record_property("times", count)
    record_property("outcome", f"{outcomes['killed']:,} killed, every result the same numbers")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "store")


def leave(folder):
    """Close a store, as the end of its process does."""
    stores._leave(folder)


def filled(folder, n=300, size=900):
    """Fill a segment; return its data file, closed."""
    segment = open_store(folder).segment(NAME, about)
    for start in range(0, n, 50):
        segment.put_many(
            [(b"%032d" % k, np.full(size, k, "f4")) for k in range(start, min(n, start + 50))]
        )
    leave(folder)
    return segment.path / "data.mdb"


@pytest.mark.parametrize("size", [5, 900])
def test_lmdbs_own_files_are_accepted(tmp_path, size):
    """After additions, replacements and removals of all sizes, in small and large transactions."""
    rng = np.random.default_rng(size)
    environment = Environment(tmp_path / "a", tmp_path)
    keys = [rng.bytes(int(rng.choice([8, 32, 33]))) for _ in range(600)]
    for _ in range(30):
        some = [keys[k] for k in rng.integers(len(keys), size=int(rng.choice([3, 200])))]
        if rng.integers(3):
            items = [(key, rng.bytes(int(rng.choice([3, 60, size * 4, 9000])))) for key in some]
            environment.write(items)
        else:
            environment.delete(some)
        with environment._env.begin() as txn:
            check_tree(tmp_path / "a/data.mdb", txn.id(), deep=True)
    environment.delete(keys)
    assert len(environment) == 0
    with environment._env.begin() as txn:
        check_tree(tmp_path / "a/data.mdb", txn.id(), deep=True)


def test_every_cut_is_found_before_it_is_read(tmp_path):
    data = filled(tmp_path / "store")
    whole = data.read_bytes()
    newest = max(int.from_bytes(whole[p + 144 : p + 152], "little") for p in (0, 4096))
    assert check_tree(data, newest) == len(whole)
    for size in range(1, len(whole), 40_001):
        data.write_bytes(whole[:size])
        with pytest.raises(DamagedError, match="cut short"):
            check_tree(data, newest)


@pytest.mark.parametrize("damage", [lambda b: b[:20480], lambda b: os.urandom(len(b))])
def test_a_damaged_segment_is_dropped_with_one_warning(tmp_path, damage):
    data = filled(tmp_path / "store")
    data.write_bytes(damage(data.read_bytes()))
    store = open_store(tmp_path / "store")
    with pytest.warns(StoreWarning, match="is removed and computed again") as told:
        segment = store.segment(NAME, about)
    assert len(told) == 1
    assert segment.get_many([b"%032d" % k for k in range(3)]) == [None] * 3
    segment.put_many([(b"%032d" % 1, np.ones(3))])
    leave(tmp_path / "store")
    assert open_store(tmp_path / "store").verify() == {NAME[:32]: (1, 0)}


def test_a_file_that_is_cut_while_it_is_open(store):
    segment = store.segment(NAME, about)
    segment.put_many([(b"%032d" % k, np.full(900, k, "f4")) for k in range(300)])
    os.truncate(segment.path / "data.mdb", 20480)
    with pytest.warns(StoreWarning, match="was cut short while it was open"):
        assert segment.get_many([b"%032d" % 7]) == [None]
    segment.put_many([(b"%032d" % 7, np.ones(2))])
    assert segment.get_many([b"%032d" % 7])[0].tolist() == [1, 1]


def test_what_lmdb_itself_finds_damaged_is_dropped(store):
    import lmdb

    segment = store.segment(NAME, about)
    segment.put_many([(b"a", np.ones(2))])
    looks = []

    def take(key, buffer):
        looks.append(buffer)
        if len(looks) == 1:
            raise lmdb.CorruptedError("a page is odd")
        return buffer

    with pytest.warns(StoreWarning, match="a page is odd"):
        assert segment.environment.read([b"a"], take) == [None]


def test_an_entry_is_valid_under_its_own_key_only():
    packed = pack(np.arange(4, dtype="f4"), b"one")
    assert unpack(packed, b"one").tolist() == [0, 1, 2, 3]
    assert unpack(packed, b"another") is None


def old_entry(array, dtype=None):
    tail = struct.pack(f"<{array.ndim}q", *array.shape) + array.tobytes()
    code = (dtype or array.dtype.str).encode().ljust(8)
    return struct.pack("<4sI8sB", b"fnd1", zlib.crc32(tail), code, array.ndim) + tail


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_entries_of_earlier_releases_are_read(store, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    segment = store.segment(NAME, about)
    segment.environment.write([(b"old", old_entry(array))])
    (found,) = segment.get_many([b"old"])
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    for wrong in (">f4", "<i4", "<f8", "|u1", "<f2", "<f4"):
        if wrong != array.dtype.str:
            assert unpack(old_entry(array, wrong)) is None


@pytest.mark.parametrize("write", [pack, old_entry])
def test_every_bit_of_a_header_counts(write):
    array = np.linspace(0, 1, 5, dtype="f4")
    assert np.array_equal(unpack(write(array)), array)
    for bit in range(25 * 8):
        raw = bytearray(write(array))
        raw[bit // 8] ^= 1 << bit % 8
        assert unpack(bytes(raw)) is None
    # a header that would fit the data as well
    assert unpack(write(array).replace(b"<f4 ", b"<i4 ")) is None


def test_digests_have_a_checksum_and_old_ones_are_made_again(store, tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"a")
    os.utime(file, (1, 1))
    time.sleep(0.15)  # a file just written is not trusted yet
    state = file_state(str(file))
    store.digests.remember([(state, "0" * 64)])
    assert store.digests.known([state]) == ["0" * 64]
    environment = store.digests._environment
    ((key, value),) = environment.items()
    environment.write([(key, value[:40] + bytes([value[40] ^ 1]) + value[41:])])
    with pytest.warns(StoreWarning, match="damaged; they are computed again"):
        assert store.digests.known([state]) == [None]
    environment.write([(key, state.stamp + b"0" * 64)])
    with pytest.warns(StoreWarning, match="earlier release"):
        assert store.digests.known([state]) == [None]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_note_is_written_again(tmp_path, content):
    folder = tmp_path / "store"
    note = filled(folder, 3).parent / "about.json"
    note.write_bytes(content)
    store = open_store(folder)
    assert [info.about for info in store.infos()] == [{}]
    with pytest.warns(StoreWarning, match=r"about\.json' was damaged; it is written again"):
        segment = store.segment(NAME, about)
    assert [info.about for info in store.infos()] == [about()]
    assert segment.has_many([b"%032d" % 1]).all()


@pytest.mark.parametrize("text", ["", "3", "q", "-1", "1" * 5000, "\udcff"])
def test_a_damaged_format_is_written_again(tmp_path, text):
    folder = tmp_path / "store"
    filled(folder, 3)
    (folder / "format").write_text(text, errors="surrogateescape")
    with pytest.warns(StoreWarning, match=r"format' was damaged; it is written again"):
        store = open_store(folder)
    assert (folder / "format").read_text() == "1"
    assert store.verify() == {NAME[:32]: (3, 0)}


def test_a_folder_with_another_format_file_is_no_cache(tmp_path):
    (tmp_path / "format").write_text("of my thesis")
    with pytest.raises(StoreError, match="the file 'format' in it is of something else"):
        open_store(tmp_path)
    assert (tmp_path / "format").read_text() == "of my thesis"
    assert os.listdir(tmp_path) == ["format"]


def snapshot(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_nothing_but_the_stores_own_files_is_removed(tmp_path):
    folder = tmp_path / "mine"
    names = ["thesis.doc", "claims/notes.txt", "segments/data.mdb", "segments/mine/about.json",
             f"segments/{NAME[:32]}/thesis.doc", f"segments/{'a' * 32}/photo.jpg", "lock.mdb",
             "evicted-mine/data.mdb", f"evicted-{'b' * 32}/photo.jpg", "workers/mine.lock",
             "digests/photo.jpg", f"{'c' * 32}.lock"]  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    os.utime(folder / "workers/mine.lock", (0, 0))
    before = snapshot(folder)
    filled(folder, 3)
    for part in ("claims", "digests"):
        (folder / part / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.warns(StoreWarning, match="no file of LMDB"):
        store = open_store(folder)
    store.limit = 1
    with store.claims(NAME):
        pass
    with pytest.raises(StoreError, match="limited"):
        store.make_room(keep=NAME)
    assert store.verify() == {NAME[:32]: (3, 0), "a" * 32: (0, 0)}
    leave(folder)
    assert clear(folder) > 0
    after = snapshot(folder)
    assert {path: after.get(path) for path in before} == before
    assert not (folder / "segments" / NAME[:32] / "data.mdb").exists()


def test_a_link_to_a_folder_elsewhere_is_left_alone(tmp_path):
    folder, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "about.json").write_text("mine")
    open_store(folder)
    (folder / "segments").mkdir()
    (folder / "segments" / ("a" * 32)).symlink_to(elsewhere, target_is_directory=True)
    (folder / ("evicted-" + "a" * 32)).symlink_to(elsewhere, target_is_directory=True)
    clear(folder)
    assert (elsewhere / "about.json").read_text() == "mine"


def test_a_claim_that_names_another_file_is_no_claim(store):
    outside = store.path / "segments.lock"
    outside.write_text("mine")
    key = bytes.fromhex(NAME[:32]) + b"k"
    with store.claims(NAME) as claims:
        store._claims.write([(key, b"../segments")])
        assert claims.take([b"k"], 1) == ([0], 1)
        claims.release([b"k"])
        store._claims.write([(key, b"\xff" * 32)])
        assert claims.take([b"k"], 1) == ([0], 1)
    assert outside.read_text() == "mine"


def test_what_killed_workers_leave_is_cleaned(store):
    workers = store.path / "workers"
    workers.mkdir()
    old, new = workers / f"{'a' * 32}.lock", workers / f"{'b' * 32}.lock"
    for file in (old, new):
        file.touch()
    past = time.time() - _SETTLED - 1
    os.utime(old, (past, past))
    store._claims.write([(bytes(17), b"a" * 32)])
    evicted = store.path / f"evicted-{'a' * 32}"
    evicted.mkdir()
    (evicted / "data.mdb").touch()
    with store.claims(NAME) as claims:
        assert not old.exists()
        assert new.exists()  # its worker may be about to lock it
        assert len(store._claims) == 0
        assert claims.take([b"k"], 1) == ([0], 1)
    store.make_room()
    assert not evicted.exists()


def test_a_store_can_be_cleared_whatever_its_state(tmp_path):
    folder = tmp_path / "store"
    data = filled(folder, 3)
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        file.write_bytes(b"garbage")
    assert clear(folder) > 0
    assert not data.parent.exists()
    assert clear(folder) == 0
    assert clear(tmp_path / "absent") == 0
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file, and no cache"):
        clear(tmp_path / "file")


READ = """
import os, sys
from fundus.store import open_store
from fundus.exceptions import StoreError
import numpy, filelock, lmdb  # imported before the permissions are gone
folder = sys.argv[1]
os.setgid(65534), os.setuid(65534)
assert not os.access(folder, os.W_OK)
store = open_store(folder)
segment = store.segment("0" * 64, dict)
print([int(array[0]) for array in segment.get_many([b"%032d" % k for k in range(3)])])
print(store.segment("1" * 64, dict).has_many([b"a"]).tolist(), store.verify())
for change in (lambda: segment.put_many([(b"a", numpy.ones(2))]), lambda: store.claims("0" * 64)):
    try:
        change()
    except StoreError as error:
        print("read-only" in str(error))
"""


@pytest.fixture
def another_users_folder():
    """A folder that another user can get to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs a second user")
def test_another_user_reads_a_store(another_users_folder):
    top = another_users_folder
    filled(top / "store", 3)
    before = snapshot(top / "store")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(top / "store")], capture_output=True, text=True
    )
    verified = {NAME[:32]: (3, 0)}
    expected = ["[0, 1, 2]", f"[False] {verified}", "True", "True"]
    assert done.stdout.splitlines() == expected, done.stderr
    assert snapshot(top / "store") == before


def test_a_read_only_store_is_read_and_says_once_what_it_lacks(tmp_path, photographs, monkeypatch):
    """The same without a second user: the system is said to refuse."""
    folder = tmp_path / "store"
    extract = FeatureExtractor("tiny", weights="fixed", cache=folder)
    F = extract.fit_transform(photographs.paths[:4])
    leave(folder)
    before = snapshot(folder)
    monkeypatch.setattr("fundus.store.environment.os.access", lambda path, mode: False)
    assert np.array_equal(extract.transform(photographs.paths[:4]), F)
    with pytest.warns(StoreWarning, match="is read-only, and lacks some of this work") as told:
        more = extract.transform(photographs.paths[:6])
    assert len(told) == 1
    assert np.array_equal(more[:4], F)
    assert np.isfinite(more).all()
    assert open_store(folder).verify() == {next(iter((folder / "segments").iterdir())).name: (4, 0)}
    assert snapshot(folder) == before
    cache._open.pop(str(folder))
    with pytest.raises(StoreError, match="is no cache yet, and cannot be written"):
        open_store(Cache(tmp_path / "empty", on_error="raise"))
