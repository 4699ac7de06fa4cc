"""Hostile and damaged PyTorch files, read in child processes, so that a crash is an outcome.

Run as a program, it is such a child: it reads the files of some numbers and prints what came out.
"""

from __future__ import annotations

import json
import pickle
import struct
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from attacks.children import peak_megabytes, run_module

FILLED = 0x5A  # every byte of every storage: anything else in a tensor is foreign memory
_STORAGES = ["Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool"]
_SECONDS = 20
_MEGABYTES = 1500


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def group(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def storage(kind: str, key: str, numel: int) -> bytes:
    named = name("torch", kind + "Storage")
    return group(text("storage"), named, text(key), text("cpu"), number(numel)) + b"Q"


def tensor(stored: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    sizes = [group(*map(number, numbers)) for numbers in (shape, strides)]
    called = name("torch._utils", "_rebuild_tensor_v2")
    return called + group(stored, number(offset), *sizes, b"\x89", b"N") + b"R"


def write(path: Path, data: bytes, storages: dict[str, bytes], *, legacy: bool) -> None:
    """Write a file around a pickle, as ``torch.save`` does."""
    if not legacy:
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("a/data.pkl", data)
            for key, content in storages.items():
                made.writestr(f"a/data/{key}", content)
        return
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    with path.open("wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, info):
            pickle.dump(value, file, protocol=2)
        file.write(data)
        pickle.dump(list(storages), file, protocol=2)
        for content in storages.values():
            file.write(struct.pack("<q", len(content)) + content)


def whole(rng: np.random.Generator) -> tuple[bytes, dict[str, bytes]]:
    """Return the pickle of a checkpoint that can be read, with an optimizer, and its storages."""
    layers, kept = [], {}
    for k in range(int(rng.integers(2, 9))):
        shape = tuple(int(n) for n in rng.integers(1, 7, size=rng.integers(1, 5)))
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        n = int(np.prod(shape))
        kept[str(k)] = bytes([FILLED]) * n
        kind = str(rng.choice(["Byte", "Char"]))
        layers.append(
            text(f"layer{k}.weight") + tensor(storage(kind, str(k), n), 0, shape, strides)
        )
    ordered = name("collections", "OrderedDict") + b")R(" + b"".join(layers) + b"u"
    ordered += b"}" + text("_metadata") + b"}sb"
    args = name("argparse", "Namespace") + b")\x81}" + text("lr") + b"G" + bytes(8) + b"sb"
    content = b"}(" + text("model") + ordered + text("epoch") + number(3) + text("args") + args
    return b"\x80\x02" + content + b"u.", kept


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """Damage bytes: flips, garbage, cuts, repeats."""
    raw = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        if not raw:  # nothing is left to damage
            break
        place = int(rng.integers(len(raw)))
        length = int(rng.integers(1, 40))
        kind = rng.integers(8)
        if kind < 4:
            raw[place] ^= 1 << int(rng.integers(8))
        elif kind == 4:
            raw[place : place + length] = rng.bytes(min(length, len(raw) - place))
        elif kind == 5:
            del raw[place : place + length]
        elif kind == 6:
            start = int(rng.integers(len(raw)))
            raw[place:place] = raw[start : start + length]
        else:
            del raw[max(place, 1) :]
    return bytes(raw)


def made(rng: np.random.Generator) -> bytes:
    """Return a pickle of random instructions, many of which fit together."""
    names = [("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict"),
             ("torch._utils", "_rebuild_parameter"), ("os", "system"), ("torch", "ByteStorage"),
             ("builtins", "eval")]  # fmt: skip

    def some_number() -> int:
        small, signed = int(rng.integers(0, 80)), int(rng.integers(-(2**31), 2**31))
        return int(rng.choice([small, small, small, signed, 1 << int(rng.integers(60))]))

    def some_tensor() -> bytes:
        if rng.integers(3):  # one that can be read
            n, step = int(rng.integers(1, 9)), int(rng.integers(0, 4))
            stored = storage("Double", "0", 8)
            return tensor(stored, 0, (n,), (step,))
        n = int(rng.integers(0, 4))
        shape, strides = (tuple(some_number() for _ in range(n)) for _ in range(2))
        kind = str(rng.choice(_STORAGES))
        return tensor(storage(kind, "0", int(rng.choice([64, 8, some_number()]))),
                      int(rng.choice([0, some_number()])), shape, strides)  # fmt: skip

    def state() -> bytes:
        n = int(rng.integers(1, 3))
        values = [group(*(number(some_number()) for _ in range(n))) for _ in range(2)]
        return b"}(" + text("strides") + values[0] + text("shape") + values[1] + b"ub"

    def one() -> bytes:
        kind = int(rng.integers(-14, 14))
        if kind < 3:
            return text(f"w{rng.integers(9)}") + some_tensor() + b"s"
        if kind == 3:
            return text("w") + some_tensor() + state() + b"s"
        if kind == 4:
            return name(*names[int(rng.integers(len(names)))])
        if kind == 5:
            return number(some_number())
        if kind == 6:
            return b"\x85" * int(10 ** rng.uniform(0, 5))  # tuples in tuples
        if kind == 7:
            return b"r" + struct.pack("<I", int(rng.integers(2**32)))  # a place in the memo
        if kind == 8:
            return b"\x8b" + struct.pack("<i", int(rng.integers(2**31)))  # a long number
        if kind == 9:
            return rng.choice([b"\x8d", b"\x8e", b"\x96", b"\x95"]) + rng.bytes(8)
        if kind == 10:
            return (b"q\x01h\x01h\x01\x86" * int(rng.integers(1, 60))) + b"Ns"  # doubling
        if kind == 11:
            return state()
        if kind == 12:
            return b"\x85" * int(10 ** rng.uniform(0, 5)) + b"K\x01s"  # as a key
        return rng.bytes(int(rng.integers(1, 9)))

    return b"\x80\x02}" + b"".join(one() for _ in range(int(rng.integers(1, 4)))) + b"."


def make(path: Path, seed: int, k: int) -> bool:
    """Write the k-th file; return whether its storages are as they should be."""
    rng = np.random.default_rng([seed, k])
    legacy = bool(rng.integers(2))
    if k % 2:
        write(path, made(rng), {"0": bytes([FILLED]) * 64}, legacy=legacy)
        return True
    data, kept = whole(rng)
    inside = bool(rng.integers(2))  # only the pickle, so that the rest of the file is right
    write(path, mutated(rng, data) if inside else data, kept, legacy=legacy)
    if not inside:
        path.write_bytes(mutated(rng, path.read_bytes()))
    return inside


def read(path: Path, key: str | None, *, filled: bool) -> str:
    """Read a file as a user would, and say what came out."""
    from fundus.backbones.torch_reader import read_torch_state
    from fundus.exceptions import BundleError, WeightsNotAvailableError

    started = time.process_time()
    try:
        arrays = read_torch_state(path, key=key)
    except (BundleError, WeightsNotAvailableError):
        outcome = "refused"
    except BaseException as error:
        return f"foreign {type(error).__name__}"
    else:
        outcome = "read"
        if filled and any((a.reshape(-1).view("u1") != FILLED).any() for a in arrays.values()):
            return "foreign memory"
    if time.process_time() - started > _SECONDS:
        return "slow"
    if peak_megabytes() > _MEGABYTES:
        return "large"
    return outcome


def attack(count: int, seed: int, folder: Path) -> Counter[str]:
    """Read `count` files, damaged ones and made ones in turn."""
    outcomes: Counter[str] = Counter()
    k = 0
    while k < count:
        done = run_module("checkpoints", folder, seed, k, count, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        outcomes.update(json.loads(line) for line in lines)
        k += len(lines)
        if k < count:
            outcomes[f"died with {done.returncode}: {done.stderr[-200:]}"] += 1
            k += 1
    return outcomes


def _child(folder: Path, seed: int, start: int, stop: int) -> None:
    for k in range(start, stop):
        path = folder / "made.pt"
        filled = make(path, seed, k)
        key = None if k % 2 and k % 16 else "model"
        print(json.dumps(read(path, key, filled=filled)), flush=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]), *map(int, sys.argv[2:]))
