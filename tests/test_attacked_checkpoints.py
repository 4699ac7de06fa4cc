"""No PyTorch file, whatever is in it, does more than raise an error."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from attacks import checkpoints
from attacks.checkpoints import FILLED, group, name, number, storage, tensor, text, write

from fundus.backbones import torch_pickle, torch_reader
from fundus.backbones.torch_reader import read_torch_state
from fundus.exceptions import BundleError, WeightsNotAvailableError

SIXTY_FOUR = {"0": bytes([FILLED]) * 64}
BYTES = storage("Byte", "0", 64)


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.soak)])
def test_hostile_checkpoints_raise_an_error_and_nothing_more(count, tmp_path, record_property):
    outcomes = checkpoints.attack(count, 0, tmp_path)
    assert set(outcomes) <= {"refused", "read"}, outcomes
    assert outcomes.total() == count
    assert outcomes["read"] > count // 50  # not all are so broken that nothing was tried
    record_property(
        "promise",
        "A hostile or damaged PyTorch file raises an error: no code, no crash, no foreign memory.",
    )
    record_property("did", "damaged checkpoints in both formats, and pickles made at random, read")
    record_property("times", count)
    record_property(
        "outcome", f"{outcomes['refused']:,} refused, {outcomes['read']:,} read as they are, 0 else"
    )


def read(path, entries, *, legacy=False, key=None, storages=SIXTY_FOUR):
    data = b"\x80\x02}" + b"".join(text(k) + made + b"s" for k, made in entries.items()) + b"."
    write(path / "w.pt", data, storages, legacy=legacy)
    return read_torch_state(path / "w.pt", key=key)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("stride", "length"), [(-1, 65536), (1, 4096), (0, 10**9), (-(10**6), 9)])
def test_a_tensor_takes_no_state(tmp_path, legacy, stride, length):
    state = b"}(" + text("strides") + group(number(stride)) + text("shape")
    state += group(number(length)) + b"ub"
    with pytest.raises(BundleError, match="a state for what has none"):
        read(tmp_path, {"w": tensor(BYTES, 0, (64,), (1,)) + state}, legacy=legacy)


@pytest.mark.parametrize("attribute", ["_rebuild_tensor_v2", "_rebuild_parameter"])
def test_a_name_takes_no_state_and_no_item(tmp_path, attribute):
    named = name("torch._utils", attribute)
    for change in (b"}" + text("__code__") + b"Nsb", text("a") + b"Ns", b"Na", b"(Ne", b"(N\x90"):
        with pytest.raises(BundleError):
            read(tmp_path, {"w": named + change})
    assert read(tmp_path, {"w": tensor(BYTES, 0, (64,), (1,))})["w"].shape == (64,)


def test_an_ordered_dictionary_has_its_own_entries_only(tmp_path):
    ordered = name("collections", "OrderedDict") + b")R}" + text("update") + b"Nsb"
    with pytest.raises(BundleError, match="is a dict"):
        read(tmp_path, {"w": ordered})
    assert read(tmp_path, {"w": ordered}, key="w") == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (tensor(BYTES, 0, (2**20, 2**10), (0, 0)), "would become tensors of 1073741824 bytes"),
        (tensor(BYTES, 0, (1,) * 33, (1,) * 33), "too many dimensions"),
        (tensor(storage("Byte", "0", 2**62), 0, (1,), (1,)), "has not the"),
        (b"\x8b" + struct.pack("<i", 1000) + b"\x7f" * 1000, "more than 2048 bits"),
        (b"\x8b" + struct.pack("<i", 2**31 - 1), "are asked for"),
        (b"\x8e" + struct.pack("<Q", 2**40), "are asked for"),
        (b"I" + b"9" * 5000 + b"\n", "Exceeds the limit"),
        (b")" + b"\x85" * 300_000, "is a tuple"),
        (b"}" + b")" + b"\x85" * 300_000 + b"Ns", "is a dict"),
        (b")" + b"q\x01h\x01\x86" * 60 + b"q\x020}h\x02Ns", "is a dict"),
        (b"Nr\xff\xff\xff\xff", "is a NoneType"),
        (storage("Byte", "0", 8) + b"0" + BYTES, "two storages of the name '0'"),
    ],
)
def test_what_would_cost_much_is_refused_at_once(tmp_path, entry, expected):
    with pytest.raises(BundleError, match=expected):
        read(tmp_path, {"w": entry})


def test_numbers_that_are_used_in_several_places_are_no_attack(tmp_path):
    shared = storage("Byte", "0", 2**20)
    entries = {f"w{k}": tensor(shared, 0, (2**20,), (1,)) for k in range(70)}
    found = read(tmp_path, entries, storages={"0": bytes(2**20)})
    assert len(found) == 70
    expanded = read(tmp_path, {"w": tensor(BYTES, 3, (50, 2), (0, 1))})["w"]
    assert expanded.shape == (50, 2)


def test_long_pickles_end(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MOST_INSTRUCTIONS", 1000)
    with pytest.raises(BundleError, match="more than 1,000 instructions"):
        read(tmp_path, {"w": b"N0" * 1000})
    monkeypatch.setattr(torch_pickle, "MOST_BYTES", 1000)
    with pytest.raises(BundleError, match="are asked for"):
        read(tmp_path, {"w": text("a" * 1000)})
    monkeypatch.setattr(torch_reader, "MOST_BYTES", 1000)
    with pytest.raises(BundleError, match=r"'a/data.pkl' is too large"):
        read(tmp_path, {"w": text("a" * 1000)})
    monkeypatch.undo()
    monkeypatch.setattr(torch_reader, "MOST_TENSORS", 1)
    with pytest.raises(BundleError, match="it has 2 tensors, and more than 1"):
        read(tmp_path, {k: tensor(BYTES, 0, (1,), (1,)) for k in "ab"})


def members(path, changes):
    """Write an archive whose members are given by name; a list may repeat names."""
    data = b"\x80\x02}" + text("w") + tensor(BYTES, 0, (64,), (1,)) + b"s."
    with zipfile.ZipFile(path, "w") as made:
        for member, content, compressed in [("a/data.pkl", data, 0), *changes]:
            made.writestr(member, content, compressed)


@pytest.mark.parametrize("compressed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_compressed_member_is_refused(tmp_path, compressed):
    members(tmp_path / "w.pt", [("a/data/0", bytes(10**6), compressed)])
    with pytest.raises(BundleError, match=r"the member 'a/data/0' is compressed"):
        read_torch_state(tmp_path / "w.pt")
    members(tmp_path / "w.pt", [("a/data/0", bytes(64), 0), ("a/notes", b"a", compressed)])
    assert read_torch_state(tmp_path / "w.pt")["w"].shape == (64,)  # nobody reads it


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    members(tmp_path / "w.pt", [("a/data/0", bytes(64), 0), ("a/data/0", bytes(64), 0)])
    with pytest.raises(BundleError, match="two members of one name"):
        read_torch_state(tmp_path / "w.pt")


def test_members_that_lie_upon_each_other_are_refused(tmp_path):
    """Two names for one piece of the file: with a thousand, each read would be a thousandfold."""
    n = 1 << 16
    entries = [text(f"w{k}") + tensor(storage("Byte", str(k), n), 0, (n,), (1,)) for k in (0, 1)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02}" + b"".join(e + b"s" for e in entries) + b".")
        made.writestr("a/data/0", bytes(n))
        made.NameToInfo.pop("a/data/0")
        one = made.filelist[-1]
        again = zipfile.ZipInfo("a/data/1")
        for field in ("header_offset", "CRC", "file_size", "compress_size"):
            setattr(again, field, getattr(one, field))
        made.filelist.append(again)
    (tmp_path / "w.pt").write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match=r"'a/data/1' is too large"):
        read_torch_state(tmp_path / "w.pt")


def test_a_large_checkpoint_with_its_optimizer_is_read(tmp_path):
    """As many tensors as a large vision transformer has, with both moments of each."""
    n, entries, state, kept = 300, [], [], {}
    for k in range(n):
        for part, weight in enumerate(("model", "exp_avg", "exp_avg_sq")):
            key = str(3 * k + part)
            kept[key] = struct.pack("<f", k) * 4
            made = tensor(storage("Float", key, 4), 0, (2, 2), (2, 1))
            (state if part else entries).append(text(f"blocks.{k}.{weight}") + made + b"s")
    groups = b"(" + b"".join(number(k) for k in range(n)) + b"l"
    optimizer = b"}" + text("state") + b"}" + b"".join(state) + b"s" + text("params") + groups
    data = b"\x80\x02}" + text("model") + name("collections", "OrderedDict") + b")R"
    data += b"".join(entries) + b"s" + text("optimizer") + optimizer + b"ss."
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as made:
        made.writestr("a/data.pkl", data)
        for key, content in kept.items():
            made.writestr(f"a/data/{key}", content)
    found = read_torch_state(tmp_path / "w.pth", key="model")
    assert len(found) == n
    assert np.array_equal(found["blocks.7.model"], np.full((2, 2), 7, "f4"))


def test_a_file_that_cannot_be_read_is_not_damaged(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    path.write_bytes(b"")
    opened = type(path).open

    def refuse(self, *args, **named):
        if self == path:
            raise PermissionError("not for you")
        return opened(self, *args, **named)

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(WeightsNotAvailableError, match="cannot be read"):
        read_torch_state(path)
