"""Small image files that are made to cost seconds or gigabytes, or to trip the reader."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from attacks.images import checksums, encoded
from image_samples import encode, scene
from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colours: int, *extra: bytes) -> bytes:
    """A PNG whose pixels are packed some thousand times, all rows through the dearest filter."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    row = b"\x04\1\2" + bytes(width * depth * samples // 8 - 2)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), *extra, _chunk(b"IDAT", packed), _chunk(b"IEND", b""))
    return _PNG + b"".join(chunks)


def png_header(width: int, height: int, depth: int, colours: int, *extra: bytes) -> bytes:
    """A PNG of a few bytes that claims any size."""
    whole = png(8, 8, 8, 2, *extra)
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", header) + whole[33:]


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG of a few bytes that claims any size."""
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def gif(width: int, height: int, inner: tuple[int, int] | None = None) -> bytes:
    """A GIF of a few bytes that claims any size."""
    sides = struct.pack("<HHHH", 0, 0, *(inner or (width, height)))
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff"
    return head + b"," + sides + b"\0\2\2D\1\0;"


def bitmap(width: int, height: int) -> bytes:
    """A run-length coded BMP of a few bytes that claims any size."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 16, 0, 0, 2, 0)
    body = info + bytes(8) + b"\xff\1" * 4 + b"\0\1"
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 62) + body


def webp(width: int, height: int, *, canvas: bool) -> bytes:
    """A WebP that claims any size, in its canvas or in the picture on it."""
    whole = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)
    picture = whole[12:]
    sides = struct.pack("<I", width - 1 & 0x3FFF | (height - 1 & 0x3FFF) << 14)
    if not canvas:
        picture = picture[:9] + sides + picture[13:]
    outer = (width, height) if canvas else (16, 16)
    packed = b"".join(struct.pack("<I", side - 1)[:3] for side in outer)
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + packed + picture
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(tags: dict[int, tuple[int, int, int]], tail: bytes, *, repeat: int = 1) -> bytes:
    """A TIFF of tags, each a kind, a count and a value, whose data begin after them."""
    entries = [struct.pack("<HHII", tag, *rest) for tag, rest in sorted(tags.items())] * repeat
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + tail


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG with further scans of a few bytes, each over the whole picture."""
    picture = Image.new("RGB", (side, side), (120, 60, 20))
    whole = encoded(picture, "JPEG", progressive=True, subsampling=0)
    return whole[:-2] + b"\xff\xda\0\x0c\x03\1\0\2\0\3\0\0\0\1\0" * count + b"\xff\xd9"


def bombs() -> dict[str, bytes]:
    """Files that must be refused, by what they are."""
    plain = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 262: (3, 1, 1), 273: (4, 1, 8)}
    plain |= {277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64)}
    block = bytes(400_000)
    tiled = {**plain, 322: (4, 1, 2**15), 323: (4, 1, 2**15), 324: (4, 1, 8), 325: (4, 1, 64)}
    del tiled[273], tiled[279]
    many = {1000 + k: (1, len(block), 8) for k in range(300)}
    strips = 100_000
    after = 8 + 2 + 12 * 8 + 4
    overlapping = {
        **plain,
        257: (4, 1, 8000),
        278: (4, 1, 1),
        273: (4, strips, after),
        279: (4, strips, after + 4 * strips),
    }
    named = np.concatenate([np.full(strips, after), np.full(strips, 300_000)]).astype("<u4")
    return {
        "TIFF, BitsPerSample with count 0": tiff({**plain, 258: (3, 0, 8)}, bytes(100)),
        "TIFF, SampleFormat with count 0": tiff({**plain, 339: (3, 0, 1)}, bytes(100)),
        "TIFF, ImageWidth with count 0": tiff({**plain, 256: (3, 0, 1)}, bytes(100)),
        "TIFF, 300 tags over one block": tiff(many, block),
        "TIFF, one tag 60,000 times": tiff({273: (1, len(block), 8)}, block, repeat=60_000),
        "TIFF, a tile of 32,768 pixels": tiff(tiled, bytes(100)),
        "TIFF, 100,000 strips over one block": tiff(overlapping, named.tobytes()),
        "BigTIFF, a directory at 2**64 - 1": b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(20),
        "PGM, width of 5,000 digits": b"P5 " + b"1" * 5000 + b" 1 255\n\0",
        "PGM, maximum of 5,000 digits": b"P5 1 1 " + b"2" * 5000 + b"\n\0",
        "PGM, a comment of 3 MB": b"P5 #" + b"x" * 2_900_000,
        "PGM, 3 MB of spaces": b"P5" + b" " * 2_900_000,
        "GIF of 30,000 pixels a side": gif(30_000, 30_000),
        "GIF, a frame larger than its canvas": gif(10, 10, (30_000, 30_000)),
        "GIF of 16,000 pixels a side": gif(16_000, 16_000),
        "GIF, 3 MB of empty comments": gif(9, 9)[:19] + b"!\xfe\1x\0" * 580_000,
        "BMP of 30,000 pixels a side": bitmap(30_000, 30_000),
        "BMP of 12,000 pixels a side, upside down": bitmap(12_000, -12_000),
        "BMP of -2,147,483,648 pixels": bitmap(-(2**31), -(2**31)),
        "WebP, a canvas of 2**24 pixels": webp(2**24, 2**24, canvas=True),
        "WebP, a picture of 16,384 pixels": webp(16_384, 16_384, canvas=False),
        "PNG, 10,000 pixels a side": png_header(10_000, 10_000, 8, 2),
        "PNG, 6,000 pixels a side, 16-bit RGBA": png_header(6000, 6000, 16, 6),
        "PNG, 7,000 pixels a side, transparent palette": png_header(
            7000, 7000, 8, 3, _chunk(b"tRNS", b"\0")
        ),
        "PNG that ends with an empty IHDR": _PNG + _chunk(b"IHDR", b""),
        "PNG without IHDR": _PNG + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""),
        "JPEG of 10,000 pixels a side": jpeg_header(10_000, 10_000),
        "JPEG of 1,000 scans": scans(64, 1000),
        "JPEG, 3 MB of empty segments": b"\xff\xd8" + b"\xff\xfe\0\2" * 700_000,
        "JPEG, 3 MB of fill bytes": b"\xff\xd8" + b"\xff" * 2_900_000,
        "JPEG, 3 MB of restart markers": b"\xff\xd8" + b"\xff\xd0" * 1_400_000,
    }


def costly() -> dict[str, bytes]:
    """Files that stay just within the limits: what they cost is what a file may cost."""
    side = 7070
    flat = Image.new("RGB", (side, side), (120, 60, 20))
    text = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 1)
    moving = io.BytesIO()
    frames = [Image.new("P", (3000, 3000), k) for k in range(20)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    return {
        "PNG, RGB": png(side, side, 8, 2),
        "PNG, RGBA": png(4320, 4320, 8, 6),
        "PNG, 16-bit RGBA": png(3060, 3060, 16, 6),
        "PNG, a text of 200 MB": png(8, 8, 8, 2, _chunk(b"zTXt", text)),
        "PNG, a profile of 200 MB": png(8, 8, 8, 2, _chunk(b"iCCP", text)),
        "GIF": encoded(Image.new("P", (side, side)), "GIF"),
        "GIF, 20 frames": moving.getvalue(),
        "WebP": encoded(flat, "WEBP", method=0),
        "WebP, lossless": encoded(Image.new("RGBA", (4300, 4300)), "WEBP", lossless=True),
        "JPEG, 32 scans": scans(side, 22),
        "JPEG, CMYK": encoded(Image.new("CMYK", (6100, 6100)), "JPEG", progressive=True),
        "TIFF, deflated": encoded(flat, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF, LZW": encoded(flat, "TIFF", compression="tiff_lzw"),
        "TIFF, G4": encoded(Image.new("1", (side, side)), "TIFF", compression="group4"),
    }


def add_bad_files(folder: Path) -> Path:
    """Write one of each kind of bad file into a folder of photographs; return the folder."""
    for number, (name, data) in enumerate(bombs().items()):
        (folder / f"bad{number}.{name[:3].lower()}").write_bytes(data)
    whole = bytearray(encode(scene(), "PNG"))
    at = whole.index(b"IDAT") + 8  # whole by its structure, but its pixels cannot be unpacked
    whole[at : at + 40] = b"\xff" * 40
    checksums(whole)
    (folder / "unpacked.png").write_bytes(whole)
    twelve = bytearray(encode(scene(), "JPEG"))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12  # bits a sample, which are 8 here
    (folder / "twelve.jpg").write_bytes(twelve)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "empty.jpg").touch()
    return folder
