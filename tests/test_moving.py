"""Entries of a store as one file, and into another store."""

from __future__ import annotations

import os
import struct
import zipfile

import numpy as np
import pytest

from fundus import FeatureExtractor
from fundus.exceptions import StoreError
from fundus.store import open_store
from fundus.store.moving import Moved, export_entries, import_entries

NAME = "0123456789abcdef" * 2


def filled(folder, n=5, name=NAME):
    store = open_store(folder)
    segment = store.segment(name, lambda: {"backbone": "tiny"})
    segment.put_many((bytes([k]) * 32, np.full(3, k, dtype=np.float32)) for k in range(n))
    return store


def contents(store, name=NAME):
    return dict(store.segment(name, dict).environment.items())


def test_what_is_exported_is_imported(tmp_path):
    store, file = filled(tmp_path / "one"), tmp_path / "moved.zip"
    n_bytes = sum(map(len, contents(store).values()))
    assert export_entries(store, file) == Moved(1, 5, n_bytes)
    other = filled(tmp_path / "two", 2)
    assert (found := import_entries(other, file)) == Moved(1, 3, found.n_bytes, 2)
    assert contents(other) == contents(store)
    assert other.infos()[0].about == {"backbone": "tiny"}
    assert import_entries(other, file) == Moved(1, 0, 0, 5)
    new = open_store(tmp_path / "three")
    assert import_entries(new, tmp_path / "one").entries == 5
    assert contents(new) == contents(store)


@pytest.mark.parametrize("how", ["compressed", "twice"])
def test_a_file_of_other_parts_is_refused(how, tmp_path):
    """As a small file of zeros, compressed, could fill the memory."""
    file = tmp_path / "moved.zip"
    export_entries(filled(tmp_path / "one"), file)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    kind = zipfile.ZIP_DEFLATED if how == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        if how == "twice":
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(name, data)
    new = open_store(tmp_path / "two")
    with pytest.raises(StoreError, match="compressed or encrypted|two of its parts have one name"):
        import_entries(new, file)
    assert not new.infos()


def test_an_export_is_no_use_of_a_segment(tmp_path):
    """Else what was used last would be evicted first."""
    store = filled(tmp_path / "one")
    filled(tmp_path / "one", 2, "f" * 32)
    for k, name in enumerate([NAME, "f" * 32]):
        os.utime(tmp_path / "one" / "segments" / name, (k, k))
    before = [(info.name, info.used) for info in store.infos()]
    export_entries(store, tmp_path / "moved.zip")
    assert [(info.name, info.used) for info in store.infos()] == before


def test_some_segments(tmp_path):
    store, other = filled(tmp_path / "one"), "f" * 32
    filled(tmp_path / "one", 2, other)
    file = tmp_path / "moved.zip"
    assert export_entries(store, file, names=("ff",)).entries == 2
    new = open_store(tmp_path / "two")
    import_entries(new, file)
    assert [info.name for info in new.infos()] == [other]
    with pytest.raises(StoreError, match="has no segment 'abc'"):
        export_entries(store, file, names=("abc",))


def test_features_that_were_moved_are_used(photographs, tmp_path, monkeypatch):
    def extract(folder):
        return FeatureExtractor("tiny", weights="fixed", cache=folder).fit_transform(X)

    X = photographs.paths[:4]
    made = extract(tmp_path / "one")
    export_entries(open_store(tmp_path / "one"), tmp_path / "moved.zip")
    import_entries(open_store(tmp_path / "two"), tmp_path / "moved.zip")
    monkeypatch.setattr("fundus.frozen.work.run_frozen", None)
    assert np.array_equal(extract(tmp_path / "two"), made)


def test_damaged_entries_stay_behind(tmp_path):
    store, file = filled(tmp_path / "one"), tmp_path / "moved.zip"
    environment = store.segment(NAME, dict).environment
    key, value = next(environment.items())
    environment.write([(key, value[:-1] + b"?")])
    moved = export_entries(store, file)
    assert (moved.entries, moved.damaged) == (4, 1)
    moved = import_entries(open_store(tmp_path / "two"), tmp_path / "one")
    assert (moved.entries, moved.damaged) == (4, 1)


def archive(path, entries, *, note='{"format": 1}', name=NAME, about="{}"):
    with zipfile.ZipFile(path, "w") as file:
        if note is not None:
            file.writestr("fundus-cache.json", note)
        file.writestr(f"{name}/about.json", about)
        file.writestr(f"{name}/entries", entries)
    return path


@pytest.mark.parametrize(
    ("entries", "options", "match"),
    [
        (b"", {"note": None}, "'fundus-cache.json' is missing"),
        (b"", {"note": '{"format": 2}'}, "its format is 2, not 1"),
        (b"", {"note": "[1]"}, "is damaged"),
        (b"", {"about": "{"}, "about.json' is missing or damaged"),
        (b"", {"name": "../../there"}, r"it holds '\.\./"),
        (b"", {"name": "x" * 32}, "it holds 'xxx"),
        (b"\1\0\1", {}, "cannot be imported"),
        (struct.pack("<HQ", 0, 1) + b"x", {}, "an entry is damaged"),
        (struct.pack("<HQ", 600, 1) + b"x" * 601, {}, "an entry is damaged"),
        (struct.pack("<HQ", 32, 1 << 62) + b"x" * 40, {}, "ends in the middle of an entry"),
    ],
)
def test_a_file_that_was_changed_is_refused(tmp_path, entries, options, match):
    store = filled(tmp_path / "two", 1)
    before = contents(store)
    path = archive(tmp_path / "moved.zip", entries, **options)
    with pytest.raises(StoreError, match=match):
        import_entries(store, path)
    assert contents(store) == before


def test_an_entry_under_another_key_is_left_out(tmp_path):
    store = filled(tmp_path / "one", 1)
    ((_, value),) = contents(store).items()
    entries = struct.pack("<HQ", 32, len(value)) + b"k" * 32 + value
    path = archive(tmp_path / "moved.zip", entries)
    moved = import_entries(open_store(tmp_path / "two"), path)
    assert (moved.entries, moved.damaged) == (0, 1)


def test_what_is_no_export(tmp_path):
    store = filled(tmp_path / "one")
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder").mkdir()
    for path, match in (
        (tmp_path / "absent", "There is no"),
        (tmp_path / "text", "not a zip file"),
        (tmp_path / "folder", "the folder is no cache"),
        (tmp_path / "one", "it is the cache itself"),
    ):
        with pytest.raises(StoreError, match=match):
            import_entries(store, path)
    file = tmp_path / "moved.zip"
    export_entries(store, file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(StoreError, match="cannot be imported"):
        import_entries(open_store(tmp_path / "two"), file)
