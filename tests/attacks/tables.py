"""Damaged tables, loaded as a user does."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

_PIECES = [
    *(b"", b",", b";", b"\t", b"\n", b"\r", b'"', b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"nan", b"NA", b"1e400", b"-1", b"9" * 5000, b"0x10", b"inf", b"2.5", b"path", b"grade"),
    *(b"path,path\n", b"sep=;\n", "\u0663".encode(), "\U0001f441".encode(), b"../", b"\x1b[31m"),
    *(b"a" * 70_000, b"=1+1", b"<NA>", b"None", b"True", b"2024-01-01", b"\xed\xa0\x80"),
]


def texts(names: list[str]) -> list[bytes]:
    """Whole tables as they are shared."""
    rows = [(name, k % 5) for k, name in enumerate(names)]
    with_patients = "\n".join(f"{name},{grade},p{grade},left" for name, grade in rows)
    return [
        ("path,grade\n" + "\n".join(f"{name},{grade}" for name, grade in rows)).encode(),
        ("image;level\n" + "\n".join(f"{name};{grade}" for name, grade in rows)).encode(),
        ("id_code\tdiagnosis\n" + "\n".join(f"{n}\t{g}" for n, g in rows)).encode("utf-16"),
        "\n".join(f"{name} {grade}" for name, grade in rows).encode(),
        ("file,label,patient,eye\n" + with_patients + "\n,,,\n").encode("utf-8-sig"),
        (
            "sep=|\nimage_id|adjudicated_dr_grade\n" + "\n".join(f"{n}|{g}" for n, g in rows)
        ).encode(),
        (
            '"Image name","Retinopathy grade"\r\n' + "\r\n".join(f'"{n}","{g}"' for n, g in rows)
        ).encode(),
    ]


def _changed(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(changed) + 1))
        kind = int(rng.integers(5))
        if kind < 2:  # another piece, in a place or instead of what was there
            changed[at : at + kind * 3] = _PIECES[int(rng.integers(len(_PIECES)))]
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 30))]
        elif kind == 3 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        else:
            changed[at:at] = changed[at : at + int(rng.integers(1, 60))]
    return bytes(changed)


def attack(count: int, seed: int, folder: Path) -> Counter[str]:
    """Load damaged tables of the images of a folder; count how each ended."""
    from fundus import load_image_table
    from fundus.exceptions import FundusError

    names = sorted(path.name for path in folder.glob("*.png"))
    whole = texts(names)
    parquet = folder / "whole.parquet"
    pd.DataFrame({"path": names, "grade": np.arange(len(names)) % 5}).to_parquet(parquet)
    whole.append(parquet.read_bytes())
    outcomes: Counter[str] = Counter()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        kind = number % len(whole)
        file = folder / f"table{number % 7}{'.parquet' if kind == len(whole) - 1 else '.csv'}"
        file.write_bytes(_changed(whole[kind], rng))
        on_error = ("raise", "skip")[int(rng.integers(2))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = load_image_table(file, image_dir=folder, on_error=on_error, min_classes=1)
            except FundusError as error:
                named = file.name in str(error) or ".png" in str(error) or "row" in str(error)
                outcomes["refused" if named else f"unnamed: {error}"] += 1
            except BaseException as error:
                outcomes[f"{type(error).__name__}: {error}"] += 1
            else:
                outcomes["loaded" if _right(found, folder) else "loaded wrong"] += 1
    return outcomes


def _right(found: object, folder: Path) -> bool:
    """Whether there are as many grades as paths, all on the scale and all of images there are."""
    paths, grades = found.paths, found.grades
    return (
        len(paths) == len(grades) == len(set(paths)) > 0
        and set(grades.tolist()) <= set(range(5))
        and all(Path(path).is_file() and Path(path).parent == folder for path in paths)
    )
