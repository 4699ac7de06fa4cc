"""Files are written here by hand, so no PyTorch is needed to test its format."""

import argparse
import hashlib
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import Counter, OrderedDict
from pathlib import PurePosixPath

import numpy as np
import pytest

from fundus.backbones.torch_reader import read_torch_state
from fundus.exceptions import BundleError, WeightsNotAvailableError

BITS = {"f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage", "b1": "BoolStorage"}


class Storage:
    def __init__(self, key, array, kind=None, numel=None):
        self.key, self.array = key, array
        self.kind = kind or BITS[array.dtype.str[-2:].strip("|<")]
        self.numel = len(array) if numel is None else numel


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_parameter, (self.tensor, True, OrderedDict())


@pytest.fixture(autouse=True)
def _torch_names(monkeypatch):
    """Names of PyTorch that a pickle can refer to; none of them can do anything."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in (*BITS.values(), "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def dumps(content, *, legacy):
    import io

    buffer = io.BytesIO()
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            storages[value.key] = value
            kind = getattr(sys.modules["torch"], value.kind)
            return ("storage", kind, value.key, "cpu", value.numel, *([None] if legacy else []))

    Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue(), storages


def write_legacy(path, content):
    data, storages = dumps(content, legacy=True)
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, info):
            pickle.dump(value, file, protocol=2)
        file.write(data)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].numel) + storages[key].array.tobytes())


def write_zip(path, content):
    data, storages = dumps(content, legacy=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, storage in storages.items():
            archive.writestr(f"archive/data/{key}", storage.array.tobytes())


WRITERS = pytest.mark.parametrize("write", [write_legacy, write_zip])


@WRITERS
def test_offsets_strides_and_shared_storages_are_honoured(tmp_path, write):
    base = np.arange(24, dtype="f4")
    storage = Storage("7", base)
    counter = Storage("8", np.array([41], "i8"))
    state = OrderedDict(
        plain=Tensor(storage, 0, (4, 6), (6, 1)),
        transposed=Tensor(storage, 0, (6, 4), (1, 6)),
        window=Tensor(storage, 8, (2, 3), (6, 2)),
        parameter=Parameter(Tensor(storage, 23, (1,), (1,))),
        scalar=Tensor(counter, 0, (), ()),
        empty=Tensor(storage, 24, (0, 3), (3, 1)),
    )
    write(tmp_path / "w.pt", state)
    read = read_torch_state(tmp_path / "w.pt")
    assert list(read) == list(state)
    np.testing.assert_array_equal(read["plain"], base.reshape(4, 6))
    np.testing.assert_array_equal(read["transposed"], base.reshape(4, 6).T)
    np.testing.assert_array_equal(read["window"], [[8, 10, 12], [14, 16, 18]])
    np.testing.assert_array_equal(read["parameter"], [23])
    assert read["scalar"].shape == ()
    assert read["scalar"] == 41
    assert read["scalar"].dtype == np.int64
    assert read["empty"].shape == (0, 3)
    assert read["transposed"].flags["C_CONTIGUOUS"]


@WRITERS
def test_half_bool_and_bfloat16(tmp_path, write):
    brain = (np.array([1.0, -2.5, 384.0], "f4").view("u4") >> 16).astype("u2")
    state = {
        "half": Tensor(Storage("0", np.array([0.5, 2], "f2")), 0, (2,), (1,)),
        "flags": Tensor(Storage("1", np.array([True, False])), 0, (2,), (1,)),
        "brain": Tensor(Storage("2", brain, "BFloat16Storage"), 0, (3,), (1,)),
    }
    write(tmp_path / "w.pt", state)
    read = read_torch_state(tmp_path / "w.pt")
    assert [str(array.dtype) for array in read.values()] == ["float16", "bool", "float32"]
    np.testing.assert_array_equal(read["brain"], [1.0, -2.5, 384.0])
    np.testing.assert_array_equal(read["flags"], [True, False])


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@WRITERS
def test_code_in_the_file_is_refused_and_not_run(tmp_path, write):
    write(tmp_path / "w.pt", {"a": Malicious(tmp_path / "ran")})
    with pytest.raises(BundleError, match=r"w\.pt' was refused because it asks for '(posix|nt)\."):
        read_torch_state(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_code_in_the_first_pickles_of_the_old_format_is_refused(tmp_path):
    with (tmp_path / "w.pt").open("wb") as file:
        pickle.dump(Malicious(tmp_path / "ran"), file)
    with pytest.raises(BundleError, match="refused"):
        read_torch_state(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "torch.load", "torch._utils._import_dotted_name"]
)
def test_everything_not_allowed_is_refused_by_name(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    (tmp_path / "w.pt").write_bytes(f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(BundleError, match=name):
        read_torch_state(tmp_path / "w.pt")


@WRITERS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (0, (2,), (-1,)), (-1, (1,), (1,))],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_an_error(
    tmp_path, write, offset, shape, strides
):
    storage = Storage("0", np.zeros(4, "f4"))
    write(tmp_path / "w.pt", {"a": Tensor(storage, offset, shape, strides)})
    with pytest.raises(BundleError, match=r"w\.pt' is damaged"):
        read_torch_state(tmp_path / "w.pt")


@WRITERS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_an_error(tmp_path, write, share):
    storage = Storage("0", np.zeros(400, "f4"))
    path = tmp_path / "w.pt"
    write(path, {"a": Tensor(storage, 0, (400,), (1,))})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BundleError, match=r"w\.pt' is damaged, truncated or no PyTorch file"):
        read_torch_state(path)


@WRITERS
def test_a_storage_that_claims_more_than_the_file_holds_is_an_error(tmp_path, write):
    storage = Storage("0", np.zeros(4, "f4"), numel=2**40)
    write(tmp_path / "w.pt", {"a": Tensor(storage, 0, (4,), (1,))})
    with pytest.raises(BundleError, match="damaged"):
        read_torch_state(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"PK\x03\x04", b"hello", b"."])
def test_no_pytorch_file(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(BundleError, match="no PyTorch file"):
        read_torch_state(tmp_path / "w.pt")


def test_the_digest_is_checked_first(tmp_path):
    path = tmp_path / "w.pt"
    write_zip(path, {"a": Tensor(Storage("0", np.ones(2, "f4")), 0, (2,), (1,))})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(read_torch_state(path, sha256=digest)["a"], [1, 1])
    with pytest.raises(BundleError, match="must have the SHA-256 '00ff'") as caught:
        read_torch_state(path, sha256="00ff")
    assert digest in str(caught.value)


def test_a_checkpoint_with_the_tensors_in_one_entry(tmp_path):
    tensor = Tensor(Storage("0", np.ones(2, "f4")), 0, (2,), (1,))
    write_zip(tmp_path / "w.pt", {"model": {"a": tensor}, "epoch": 3})
    np.testing.assert_array_equal(read_torch_state(tmp_path / "w.pt", key="model")["a"], [1, 1])
    with pytest.raises(BundleError, match=r"pass key='model'"):
        read_torch_state(tmp_path / "w.pt")
    with pytest.raises(BundleError, match=r"has no entry 'weights'; it has \['model', 'epoch'\]"):
        read_torch_state(tmp_path / "w.pt", key="weights")


@WRITERS
def test_the_rest_of_a_checkpoint_is_neither_run_nor_read(tmp_path, write):
    """As training programs write it: with an optimizer, arguments and whatever else."""
    weights = Storage("0", np.arange(4, dtype="f4"))
    moments = Storage("1", np.zeros(9, "f4"))
    last = Storage("2", np.full(2, 7, "f4"))
    checkpoint = {
        "model": OrderedDict(
            a=Tensor(weights, 0, (2, 2), (2, 1)), b=Parameter(Tensor(last, 0, (2,), (1,)))
        ),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": Tensor(moments, 0, (3, 3), (3, 1))}}},
        "args": argparse.Namespace(lr=0.1, output_dir=PurePosixPath("out")),
        "counts": Counter("aab"),
        "seen": {frozenset([1])},
        "hostile": Malicious(tmp_path / "ran"),
    }
    write(tmp_path / "w.pth", checkpoint)
    state = read_torch_state(tmp_path / "w.pth", key="model")
    assert list(state) == ["a", "b"]
    np.testing.assert_array_equal(state["a"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(state["b"], [7, 7])
    assert not (tmp_path / "ran").exists()
    with pytest.raises(BundleError, match="refused"):
        read_torch_state(tmp_path / "w.pth")
    with pytest.raises(BundleError, match=r"must hold a dictionary of tensors.*Namespace"):
        read_torch_state(tmp_path / "w.pth", key="args")


def test_an_object_among_the_tensors_is_refused(tmp_path):
    write_zip(tmp_path / "w.pth", {"model": {"a": Malicious(tmp_path / "ran")}})
    with pytest.raises(BundleError, match=r"its entry 'a' is a (posix|nt)\.system"):
        read_torch_state(tmp_path / "w.pth", key="model")
    assert not (tmp_path / "ran").exists()


def test_storages_beside_the_tensors_are_not_read(tmp_path):
    """An optimizer's state is two thirds of a checkpoint; here it is not even there."""
    kept = Tensor(Storage("0", np.ones(2, "f4")), 0, (2,), (1,))
    other = Tensor(Storage("1", np.zeros(2, "f4"), numel=10**9), 0, (2,), (1,))
    write_zip(tmp_path / "w.pth", {"model": {"a": kept}, "optimizer": {"m": other}})
    np.testing.assert_array_equal(read_torch_state(tmp_path / "w.pth", key="model")["a"], [1, 1])


def test_a_file_cannot_change_how_the_next_is_read(tmp_path):
    # BUILD writes into the object that stands for a storage's type
    data = b"\x80\x02ctorch\nFloatStorage\n}X\x04\x00\x00\x00nameX\x0d\x00\x00\x00DoubleStoragesb."
    (tmp_path / "hostile.pt").write_bytes(data)
    with pytest.raises(BundleError):
        read_torch_state(tmp_path / "hostile.pt")
    tensor = Tensor(Storage("0", np.ones(2, "f4")), 0, (2,), (1,))
    write_zip(tmp_path / "w.pt", {"a": tensor})
    np.testing.assert_array_equal(read_torch_state(tmp_path / "w.pt")["a"], [1, 1])


def test_no_dictionary_and_no_file(tmp_path):
    write_zip(tmp_path / "w.pt", [1, 2])
    with pytest.raises(BundleError, match="but holds a list"):
        read_torch_state(tmp_path / "w.pt")
    with pytest.raises(WeightsNotAvailableError, match=r"missing\.pt"):
        read_torch_state(tmp_path / "missing.pt")
