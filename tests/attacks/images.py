"""Damaged and hostile image files, read in child processes, so that a crash is an outcome.

Run as a program, it is such a child: it reads the files of some numbers and prints what came out.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from attacks.children import peak_megabytes, run_module
from PIL import Image

SECONDS = 2.0
MEGABYTES = 1500
_EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 10_000, 0x7FFFFFFF, 0xFFFFFFFF, 60_000]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def samples() -> list[bytes]:
    """Small whole files of every format and of most of their kinds."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 28, 3), dtype=np.uint8)
    pixels[4:16, 4:20] = np.arange(16, dtype=np.uint8)[None, :, None] * 8
    rgb = Image.fromarray(pixels)
    grey, deep = rgb.convert("L"), pixels.astype(np.uint16) * 257
    rgba = rgb.convert("RGBA")
    rgba.putalpha(grey)
    exif = Image.Exif()
    exif[0x112] = 6
    frames = [rgb.rotate(90 * k) for k in range(3)]
    moving = {"save_all": True, "append_images": frames, "duration": 40}
    return [
        *(encoded(rgb.convert(mode), "JPEG") for mode in ("RGB", "L", "CMYK")),
        encoded(rgb, "JPEG", progressive=True, exif=exif),
        encoded(rgb, "JPEG", restart_marker_rows=1, subsampling=0),
        *(encoded(rgb.convert(mode), "PNG") for mode in ("RGB", "L", "1", "P")),
        encoded(rgba, "PNG", exif=exif),
        encoded(rgb.convert("P"), "PNG", transparency=3),
        encoded(rgb, "PNG", **moving),
        encoded(Image.fromarray(deep[..., 0]), "PNG"),
        *(encoded(rgb.convert(mode), "BMP") for mode in ("RGB", "L", "1", "P", "RGBA")),
        encoded(rgb.convert("P"), "GIF"),
        encoded(rgb.convert("P"), "GIF", **moving),
        *(encoded(rgba, "WEBP", lossless=lossless) for lossless in (False, True)),
        encoded(rgb, "WEBP", exif=exif),
        encoded(rgb, "WEBP", **moving),
        *(encoded(rgb.convert(mode), "PPM") for mode in ("RGB", "L")),
        b"P6 28 20 65535\n" + deep.astype(">u2").tobytes(),
        *(
            encoded(rgb, "TIFF", compression=compression)
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        ),
        encoded(rgb.convert("1"), "TIFF", compression="group4"),
        _tiff(pixels, photometric="rgb", tile=(16, 16), bigtiff=True),
        _tiff(deep, photometric="rgb", byteorder=">"),
        _tiff(np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate"),
    ]


def _integer(data: bytearray, rng: np.random.Generator) -> None:
    """Write an extreme number somewhere, most often among the first bytes."""
    layout = rng.choice(["<B", "<H", ">H", "<I", ">I"])
    end = len(data) if rng.random() < 0.3 else min(len(data), 220)
    value = int(rng.choice(_EXTREMES)) % 256 ** struct.calcsize(layout)
    at = int(rng.integers(max(1, end - 4)))
    data[at : at + struct.calcsize(layout)] = struct.pack(layout, value)


def _bytes(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))


def _bit(data: bytearray, rng: np.random.Generator) -> None:
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    del data[start : start + length]


def _repeat(data: bytearray, rng: np.random.Generator) -> None:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    data[start:start] = data[start : start + length] * int(rng.integers(1, 40))


def _truncate(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(12, max(13, len(data)))) :]


_CHANGES = (_integer, _integer, _bytes, _bit, _cut, _repeat, _truncate)


def checksums(data: bytearray) -> None:
    """Make the checksums of a PNG right again, so that its decoder sees what was changed."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length


def mutated(number: int, seed: int, whole: list[bytes]) -> bytes:
    """Make one damaged file; number and seed decide it."""
    rng = np.random.default_rng([seed, number])
    data = bytearray(whole[number % len(whole)])
    for _ in range(int(rng.integers(1, 4))):
        _CHANGES[int(rng.integers(len(_CHANGES)))](data, rng)
        if len(data) < 16:
            break
    if rng.random() < 0.05:  # the end of another file
        data += whole[int(rng.integers(len(whole)))][int(rng.integers(64)) :]
    if data[:4] == b"\x89PNG" and rng.random() < 0.7:
        checksums(data)
    return bytes(data)


def attack(count: int, seed: int, folder: Path) -> Counter[str]:
    """Read damaged files; count those that were refused, read, or had another end."""
    outcomes: Counter[str] = Counter()
    log = folder / "outcomes.jsonl"
    start = 0
    while start < count:
        child = run_module("images", start, count, seed, log, stderr=subprocess.DEVNULL)
        found = [json.loads(line) for line in log.read_text().splitlines()]
        outcomes.update(ended for _, ended in found)
        start = count
        if child.returncode:  # the process ended at the file after the last one of the log
            start = found[-1][0] + 2 if found else start + 1
            outcomes[f"process ended with {child.returncode}"] += 1
    return outcomes


def outcome(data: bytes, number: int) -> str:
    """Check and decode one file; say how that ended."""
    from fundus.exceptions import ImageReadError
    from fundus.images import decode_bytes, verify

    began, ended = time.process_time(), "read"
    for read in (
        lambda: decode_bytes(data, name="eye", min_side=(None, 8)[number % 2]),
        lambda: verify("eye", data, decode=True),
    ):
        try:
            image = read()
            if image is not None and not (image.dtype == np.uint8 and image.shape[2:] == (3,)):
                return f"an array of {image.dtype} and shape {image.shape}"
        except ImageReadError:
            ended = "refused"
        except BaseException as error:
            return type(error).__name__
    # a file is checked and decoded, so twice the time of one reading may go by
    return ended if time.process_time() - began < 2 * SECONDS else "slow"


def _read(files: Iterator[tuple[int, bytes]], log: Path) -> None:
    with log.open("w", buffering=1) as stream:
        for number, data in files:
            print(json.dumps([number, outcome(data, number)]), file=stream)
        if peak_megabytes() > MEGABYTES:
            print(json.dumps([-1, "gigabytes"]), file=stream)


def read_files(files: list[Path], folder: Path) -> dict[str, str]:
    """Read files one after another in a child process; return how each ended, by its name."""
    log = folder / "outcomes.jsonl"
    child = run_module("images", "files", log, *files, stderr=subprocess.DEVNULL)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    names = [*(file.name for file in files), "all together"]
    ends = {names[number]: ended for number, ended in found}
    return ends if child.returncode == 0 else {**ends, "process": f"ended: {child.returncode}"}


if __name__ == "__main__":
    if sys.argv[1] == "files":
        _read(((n, Path(p).read_bytes()) for n, p in enumerate(sys.argv[3:])), Path(sys.argv[2]))
    else:
        first, end, chosen = map(int, sys.argv[1:4])
        originals = samples()
        _read(((n, mutated(n, chosen, originals)) for n in range(first, end)), Path(sys.argv[4]))
