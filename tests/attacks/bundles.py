"""Changes saved models in many ways, loads them, and predicts.

Whoever changes a model can also write the digests that fit, so most changes are made with the
right SHA-256 in the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from attacks.children import peak_megabytes
from numpy.random import Generator

import fundus
from fundus.exceptions import FundusError
from fundus.grades.foreign import as_grader

SECONDS, MEGABYTES = 2.0, 1500

#: JSON values that a record is not made for.
ODD = [
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e308, 1e-300, 10**30, 2**63, 65536, "", "a", "all",
    "../x", "/etc/passwd", "\0", "x" * 20_000, [], {}, [[]], [0, 1], {"a": 1}, [None],
    float("nan"), float("inf"), -float("inf"),
    {"kind": "os.system", "fields": {"args": ["true"]}}, {"file": "/etc/passwd"},
    {"tuple": [1, 2]}, {"dict": [[1, 2]]}, {"dtype": "|O", "labels": [0, [1]]},
    {"dtype": "<U100000000", "labels": ["a"]}, {"dtype": "<i8", "labels": [0, 1, 2, 3, 4]},
]  # fmt: skip
OF_A_RUN = {"cache": "/tmp/x", "log_dir": "x", "callbacks": [], "n_jobs": 1000, "verbose": 1}


@dataclass(frozen=True)
class Target:
    """A model that is changed: its folder, images for it, and what it predicts for them."""

    folder: Path
    images: Any
    predicted: Any


def target(folder: Path, images: Any) -> Target:
    """Load a model and keep what it predicts."""
    return Target(folder, images, _predict(fundus.load(folder), images))


def attack(targets: Sequence[Target], count: int, seed: int, folder: Path) -> Counter[str]:
    """Make `count` changed copies of models, and count what came of them.

    Outcomes are "refused", "predicts the same", "predicts otherwise" (a change that is allowed,
    such as another random_state or other weights), and faults: "FOREIGN …", "SLOW", "LARGE",
    "WRONG".
    """
    rng = np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    for number in range(count):
        chosen = targets[number % len(targets)]
        bad = folder / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(chosen.folder, bad)
        ways = list(WAYS)
        way = ways[int(rng.choice(len(ways), p=_SHARES))]
        what = WAYS[way](bad, rng, targets)
        outcome = tried(bad, chosen)
        seen[outcome] += 1
        if outcome.isupper() or outcome.split()[0].isupper():
            seen[f"  {way} of {chosen.folder.name}: {what}: {outcome}"] += 1
    shutil.rmtree(folder / "bad", ignore_errors=True)
    return seen


def tried(bad: Path, chosen: Target) -> str:
    """Load a changed copy and predict; the outcome."""
    before = peak_megabytes()
    start = time.process_time()
    outcome = _outcome(bad, chosen)
    took, grown = time.process_time() - start, peak_megabytes() - before
    if took <= SECONDS and grown <= MEGABYTES:
        return outcome
    if _side(bad) >= 10 * _side(chosen.folder):
        return outcome  # the changed model asks for larger images, and gets them
    return f"SLOW {took:.1f} s, {outcome}" if took > SECONDS else f"LARGE {grown:.0f} MB, {outcome}"


def _side(folder: Path) -> int:
    """Largest size of images in a record: a network may be asked for more, and takes its time."""
    text = (folder / "model.json").read_bytes().decode("utf-8", "replace")
    return max((int(n) for n in re.findall(r'"image_size": (\d{1,9})\b', text)), default=1)


def _outcome(bad: Path, chosen: Target) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = fundus.load(bad)
        except FundusError:
            return "refused"
        except Exception as error:
            return f"FOREIGN {type(error).__name__}: {str(error)[:100]}"
        try:
            found = _predict(model, chosen.images)
        except FundusError as error:
            return "refused when it predicts" if "was changed" in str(error) else f"LATE {error}"
        except Exception as error:
            return f"FOREIGN in predict {type(error).__name__}: {str(error)[:100]}"
    if not _sound(found, model):
        return "WRONG predictions"
    same = all(np.array_equal(found[name], chosen.predicted.get(name)) for name in found)
    return "predicts the same" if same else "predicts otherwise"


def _predict(model: Any, images: Any) -> dict[str, Any]:
    for reader in as_grader(model).readers():
        reader.model.set_params(cache=False)
    found = {"predict": np.asarray(model.predict(images))}
    for name in ("predict_proba", "predict_severity"):
        if hasattr(model, name):
            found[name] = np.asarray(getattr(model, name)(images))
    if hasattr(model, "predict_set"):
        found["predict_set"] = np.asarray(model.predict_set(images))
    return found


def _sound(found: dict[str, Any], model: Any) -> bool:
    grades = found["predict"]
    known = np.isin(grades, model.classes_).all() if hasattr(model, "classes_") else True
    numbers = [v for name, v in found.items() if name in ("predict_proba", "predict_severity")]
    finite = all(np.isfinite(v).all() for v in numbers)
    sums = found["predict_proba"].sum(axis=1) if "predict_proba" in found else np.ones(1)
    return bool(known and finite and np.allclose(sums, 1, atol=1e-3))


# --- ways -----------------------------------------------------------------------------------------


def edit_record(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Change one value of ``model.json``; the digest fits."""
    record = json.loads((bad / "model.json").read_text())
    holders = _holders(record)
    holder, key = holders[int(rng.integers(len(holders)))]
    value = holder[key]
    change = int(rng.integers(9))
    if change == 0:
        del holder[key]
    elif change == 1:
        other, name = holders[int(rng.integers(len(holders)))]
        # copied, as a part inside itself cannot be written
        holder[key] = json.loads(json.dumps(other[name]))
    elif change == 2 and isinstance(value, list) and value:
        holder[key] = [value[i] for i in rng.permutation(len(value))]
    elif change == 3 and isinstance(value, list):
        holder[key] = value + value[:1] if rng.random() < 0.5 else value[:-1]
    elif change == 4 and type(value) in (int, float):
        holder[key] = [value * 1000, -value, value + 1, value * 1e9, str(value)][rng.integers(5)]
    elif change == 5 and isinstance(holder, dict):
        holder[["extra", *OF_A_RUN][rng.integers(6)]] = value
    elif change == 6 and isinstance(value, dict):
        name = list(OF_A_RUN)[rng.integers(len(OF_A_RUN))]
        value[name] = OF_A_RUN[name]
    elif change == 7:
        depth = int(rng.choice([2, 300, 60_000]))
        holder[key] = "DEEP"
        _write_record(bad, record, "[" * depth + json.dumps(value) + "]" * depth)
        return f"{key!r} in {depth} lists"
    else:
        holder[key] = ODD[int(rng.integers(len(ODD)))]
    _write_record(bad, record)
    return f"{key!r} from {str(value)[:60]} to {str(_get(holder, key))[:60]}"


def _get(holder: Any, key: Any) -> Any:
    try:
        return holder[key]
    except (KeyError, IndexError):
        return "nothing"


def _write_record(bad: Path, record: Any, deep: str | None = None) -> None:
    text = json.dumps(record)
    (bad / "model.json").write_text(text if deep is None else text.replace('"DEEP"', deep))
    sign(bad)


def _holders(record: Any) -> list[tuple[Any, Any]]:
    """All places of a document: the object or list, and the key or the number in it."""
    found, parts = [], [record]
    while parts:
        part = parts.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part))
        for key in keys:
            found.append((part, key))
            if isinstance(part[key], (dict, list)):
                parts.append(part[key])
    return found


def sign(bad: Path) -> None:
    """Write the digests that the files have now into the manifest."""
    path = bad / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        if (bad / name).is_file():
            manifest["files"][name] = hashlib.sha256((bad / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


def edit_manifest(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Change the manifest, or the names of files in it."""
    path = bad / "manifest.json"
    manifest = json.loads(path.read_text())
    holders = _holders(manifest)
    holder, key = holders[int(rng.integers(len(holders)))]
    names = [
        "../up",
        "/etc/passwd",
        "a/b",
        "C:x",
        ".hidden",
        "a\0b",
        "..",
        "manifest.json",
        "x" * 999,
    ]
    change = int(rng.integers(4))
    if change == 0:
        del holder[key]
    elif change == 1:
        holder[key] = ODD[int(rng.integers(len(ODD)))]
    elif change == 2:
        name = names[int(rng.integers(len(names)))]
        manifest["files"][name] = "0" * 64
    else:
        name = list(manifest["files"])[int(rng.integers(len(manifest["files"])))]
        manifest["files"][names[int(rng.integers(len(names)))]] = manifest["files"].pop(name)
    path.write_text(json.dumps(manifest))
    return str(key)


def flip_bytes(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Change some bytes of a file, half of the times with the digest that fits."""
    file = _file(bad, rng)
    data = bytearray(file.read_bytes())
    for place in rng.integers(len(data), size=int(rng.choice([1, 3, 20]))):
        data[place] = int(rng.integers(256))
    file.write_bytes(data)
    signed = rng.random() < 0.7 and file.name != "manifest.json"
    if signed:
        sign(bad)
    return f"{file.name}{' signed' * signed}"


def cut(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Cut a file short, or empty it."""
    file = _file(bad, rng)
    data = file.read_bytes()
    file.write_bytes(data[: int(rng.choice([0, len(data) // 2, len(data) - 1]))])
    if file.name != "manifest.json":
        sign(bad)
    return file.name


def swap(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Put a file of another model, or another file of this one, in a file's place."""
    file, other = _file(bad, rng), targets[int(rng.integers(len(targets)))].folder
    alike = [p for p in sorted(other.iterdir()) if p.suffix == file.suffix]
    content = alike[int(rng.integers(len(alike)))].read_bytes() if alike else b""
    file.write_bytes(content)
    if file.name != "manifest.json":
        sign(bad)
    return f"{file.name} from {other.name}"


def link(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Replace a file by a link, a pipe, a device's link or a folder."""
    file = _file(bad, rng)
    kept = bad.parent / "kept"
    shutil.copy(file, kept)
    file.unlink()
    way = int(rng.integers(5))
    if way == 0:
        file.symlink_to(kept)
    elif way == 1:
        os.mkfifo(file)
    elif way == 2:
        file.mkdir()
    elif way == 3:
        file.symlink_to("/dev/zero")
    else:
        file.symlink_to(file.name)
    return f"{file.name} {way}"


def edit_arrays(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Change an array of an archive: its numbers, shape, header or size."""
    files = [p for p in sorted(bad.iterdir()) if p.suffix in (".npz", ".skops")]
    if not files:
        return edit_record(bad, rng, targets)
    file = files[int(rng.integers(len(files)))]
    with zipfile.ZipFile(file) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    names = [name for name in parts if name.endswith(".npy")]
    if not names:
        return edit_objects(bad, rng, targets)
    name = names[int(rng.integers(len(names)))]
    array = np.load(io.BytesIO(parts[name]), allow_pickle=False)
    change = int(rng.integers(8))
    if change == 0 and array.dtype.kind == "f":
        array = np.full_like(array, [np.nan, np.inf, np.finfo(array.dtype).max][rng.integers(3)])
    elif change == 1:
        array = np.zeros((3, 4), array.dtype)
    elif change == 2:
        array = array.ravel()[:-1] if array.size > 1 else np.zeros(0)
    elif change == 3:
        with np.errstate(invalid="ignore"):  # of numbers that are too large
            array = array.astype(["U5", "i2", "?", "c16"][rng.integers(4)])
    elif change == 4:
        array = rng.permutation(array) if array.ndim else array + 1
    elif change == 5:
        array = np.concatenate([array, array]) if array.ndim else array
    made = io.BytesIO()
    np.save(made, array)
    parts[name] = made.getvalue()
    if change == 6:  # a header that promises gigabytes
        made = io.BytesIO()
        shape = [(10**10,), (2**31, 2**31), (-1,), (10**30,), ("a",)][rng.integers(5)]
        header = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(made, header)
        parts[name] = made.getvalue()
    _zip(file, parts, zipfile.ZIP_DEFLATED if change == 7 else zipfile.ZIP_STORED)
    sign(bad)
    return f"{file.name}/{name} {array.shape} {change}"


def edit_objects(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Change one value of the objects in a file of skops; the digest fits."""
    files = sorted(bad.glob("*.skops"))
    if not files:
        return edit_record(bad, rng, targets)
    file = files[int(rng.integers(len(files)))]
    with zipfile.ZipFile(file) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    schema = json.loads(parts["schema.json"])
    holders = _holders(schema)
    holder, key = holders[int(rng.integers(len(holders)))]
    value = holder[key]
    change = int(rng.integers(5))
    if change == 0:
        del holder[key]
    elif change == 1:
        other, name = holders[int(rng.integers(len(holders)))]
        holder[key] = json.loads(json.dumps(other[name]))
    elif change == 2 and key == "content" and isinstance(value, str):
        odd = ["1e400", "NaN", "-1", "null", '"a"', "[" * 900, "10" * 3000, "1000000000", "true"]
        holder[key] = odd[int(rng.integers(len(odd)))]
    elif change == 3 and key in ("__class__", "__module__", "__loader__"):
        odd = ["os", "system", "builtins", "eval", "SVC", "list", "ListNode", "ObjectNode", "numpy"]
        holder[key] = odd[int(rng.integers(len(odd)))]
    else:
        holder[key] = ODD[int(rng.integers(len(ODD)))]
    parts["schema.json"] = json.dumps(schema).encode()
    _zip(file, parts, zipfile.ZIP_STORED)
    sign(bad)
    return f"{file.name} {key!r} from {str(value)[:40]} to {str(_get(holder, key))[:40]}"


def edit_weights(bad: Path, rng: Generator, targets: Sequence[Target]) -> str:
    """Change an array of a file of HDF5: its numbers, shape or storage."""
    import h5py

    files = sorted(bad.glob("*.h5"))
    if not files:
        return edit_record(bad, rng, targets)
    names: list[str] = []
    with h5py.File(files[0], "r+") as file:
        file.visititems(lambda n, v: names.append(n) if isinstance(v, h5py.Dataset) else None)
        name = names[int(rng.integers(len(names)))]
        array = file[name][()]
        del file[name]
        change = int(rng.integers(7))
        if change == 0:
            file.create_dataset(name, data=np.full_like(array, np.nan))
        elif change == 1:  # kilobytes that are gigabytes
            file.create_dataset(name, (2**16, 2**16), "f4", compression="gzip", chunks=(256, 256))
        elif change == 2:
            file.create_dataset(name, array.shape, "f4", external=[("/etc/passwd", 0, 9**9)])
        elif change == 3:
            file[name] = h5py.ExternalLink("/etc/passwd", "/")
        elif change == 4:
            layout = h5py.VirtualLayout(array.shape, "f4")
            layout[...] = h5py.VirtualSource("/etc/passwd", "a", array.shape)
            file.create_virtual_dataset(name, layout)
        elif change == 5:
            file.create_dataset(name, data=array.ravel()[:-1])
        else:
            file.create_dataset(name, data=array + 1)
    sign(bad)
    return f"{name} {change}"


def _zip(file: Path, parts: dict[str, bytes], method: int) -> None:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def _file(bad: Path, rng: Generator) -> Path:
    files = sorted(bad.iterdir())
    return files[int(rng.integers(len(files)))]


Way = Callable[[Path, Generator, Sequence[Target]], str]

WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        edit_record, edit_manifest, flip_bytes, cut, swap, link, edit_arrays, edit_objects,
        edit_weights,
    )
}  # fmt: skip
_SHARES = np.array([8, 1, 2, 1, 1, 1, 3, 3, 1]) / 21
