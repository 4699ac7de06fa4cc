"""Damaged DICOM files, read in child processes, so that a crash is an outcome.

Run as a program, it is such a child: it reads the files of some numbers and prints what came out.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attacks.children import peak_megabytes, run_module
from attacks.images import MEGABYTES, SECONDS, mutated
from dicom_samples import SECRET, jpeg, packed, packings, photograph, with_palette
from pydicom.uid import JPEGBaseline8Bit


def samples() -> list[bytes]:
    """Small whole files of every packing, in colours, grey and of a palette."""
    colours = photograph(40)
    grey = np.ascontiguousarray(colours[..., 1])
    of_jpeg = {"PhotometricInterpretation": "YBR_FULL_422"}
    return [
        *packings(colours).values(),
        *packings(grey).values(),
        packed([jpeg(colours)], colours, JPEGBaseline8Bit, **of_jpeg),
        packed([jpeg(grey)], grey, JPEGBaseline8Bit),
        with_palette(grey),
    ]


def cut(whole: list[bytes], step: int) -> Iterator[bytes]:
    """Every file, cut after each `step` bytes."""
    for data in whole:
        for end in range(step, len(data), step):
            yield data[:end]


def outcome(data: bytes, number: int) -> str:
    """Check and decode one file; say how that ended."""
    from fundus.exceptions import ImageReadError
    from fundus.images import decode_bytes, verify
    from fundus.images.dicom_header import read_header

    began, ended = time.process_time(), "read"
    for read in (
        lambda: decode_bytes(data, name="eye", min_side=(None, 8)[number % 2]),
        lambda: verify("eye", data, decode=True),
        lambda: read_header(data, ("PatientID", "ImageLaterality"), "eye").text("PatientID"),
    ):
        try:
            image = read()
            if isinstance(image, np.ndarray) and image.shape[2:] != (3,):
                return f"an array of shape {image.shape}"
        except ImageReadError as error:
            ended = "refused"
            if any(part in str(error) for part in SECRET.split("^")) or "'eye'" not in str(error):
                return f"message: {error}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
    return ended if time.process_time() - began < 2 * SECONDS else "slow"


def attack(count: int, seed: int, step: int, folder: Path) -> tuple[Counter[str], str]:
    """Read damaged and cut files; return how many ended how, and all that was printed."""
    log = folder / "outcomes.jsonl"
    child = run_module("dicom", count, seed, step, log, capture_output=True, text=True)
    outcomes = Counter(json.loads(line) for line in log.read_text().splitlines())
    if child.returncode:
        outcomes[f"process ended with {child.returncode}"] += 1
    return outcomes, child.stdout + child.stderr


if __name__ == "__main__":
    n_files, chosen, every = map(int, sys.argv[1:4])
    originals = samples()
    with Path(sys.argv[4]).open("w", buffering=1) as stream:
        damaged = [mutated(n, chosen, originals) for n in range(n_files)]
        for place, content in enumerate([*damaged, *cut(originals, every)]):
            print(json.dumps(outcome(content, place)), file=stream)
        if peak_megabytes() > MEGABYTES:
            print(json.dumps("gigabytes"), file=stream)
