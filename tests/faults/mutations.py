"""Random changes of files: of bytes, of JSON, and of formats with checksums."""

from __future__ import annotations

import json
import random
import string
import struct
import zlib
from collections.abc import Mapping
from typing import Any

_BYTES = (b"", b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80", b"\n", b"\0" * 64)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**32 - 1, 2**63, -(2**70), 10**30, 0.5),
    *(1e308, -0.0, float("nan"), float("inf"), "", "x", "\0", "ü\ud800", "a\nb", "-1"),
    *("../..", "/dev/zero", "~nobody", "$UNSET", "os:system", "x" * 10_000, "mnist"),
    *([], {}, [[]], [None], {"": 0}, [2**40] * 4, ["\0"], [1.5] * 3, list(range(300))),
)


def change_bytes(rng: random.Random, content: bytes) -> bytes:
    """Returns bytes of which some are changed, cut, or come twice."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        begin = rng.randrange(len(changed) + 1)
        end = min(begin + rng.choice((0, 1, 1, 2, 8, 100)), len(changed))
        kind = rng.randrange(6)
        if kind == 0:
            changed[begin:end] = rng.randbytes(end - begin)
        elif kind == 1:
            changed[begin:end] = rng.choice(_BYTES)
        elif kind == 2:
            del changed[begin:end]
        elif kind == 3:
            changed[begin:begin] = changed[begin:end]
        elif kind == 4 and begin < len(changed):
            changed[begin] ^= 1 << rng.randrange(8)
        elif kind == 5 and not rng.randrange(5):
            del changed[begin:]
    return bytes(changed)


def change_text(rng: random.Random, text: str) -> bytes:
    """Returns a text of which words or lines are changed."""
    if not rng.randrange(3):
        return change_bytes(rng, text.encode())
    lines = text.splitlines()
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        words = list(lines[at])
        place = rng.randrange(len(words) + 1)
        words[place : place + rng.choice((0, 1, 4))] = rng.choice(
            (
                *(
                    '"',
                    ",",
                    ";",
                    "nan",
                    "1e999",
                    "-",
                    "=",
                    ":",
                    "\t",
                    "\u2028",
                    "é",
                    " ",
                ),
                *(
                    "--",
                    "#",
                    "9" * 400,
                    "true",
                    "".join(rng.choices(string.printable, k=5)),
                ),
            )
        )
        lines[at] = "".join(words)
        if not rng.randrange(4):
            rng.shuffle(lines)
    return "\n".join(lines).encode(errors="replace")


def change_json(rng: random.Random, values: Any) -> Any:
    """Returns JSON values of which some are of other types, missing, or too many."""
    changed = json.loads(json.dumps(values))
    for _ in range(rng.choice((1, 1, 2, 4))):
        here: Any = changed
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(here[key], (dict, list)) and here[key] and rng.randrange(4):
                here = here[key]
                continue
            kind = rng.randrange(5)
            if kind == 0:
                del here[key]
            elif kind == 1 and isinstance(here, dict):
                here[str(rng.choice(_VALUES))[:40]] = here[key]
            else:
                here[key] = rng.choice(_VALUES)
            break
    return changed


def table(entries: Mapping[bytes, bytes]) -> bytes:
    """Returns entries as the index of a checkpoint, in one block."""
    block = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value
        for key, value in sorted(entries.items())
    ) + struct.pack("<II", 0, 1)
    place = varint(0) + varint(len(block))
    top = varint(0) + varint(1) + varint(len(place)) + b"z" + place
    top += struct.pack("<II", 0, 1)
    at = len(block) + 5
    footer = (varint(0) + varint(0) + varint(at) + varint(len(top))).ljust(40, b"\0")
    magic = bytes.fromhex("57fb808b247547db")
    return block + _trailer(block) + top + _trailer(top) + footer + magic


def varint(value: int) -> bytes:
    """Returns an integer of 7 bits a byte."""
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _trailer(block: bytes) -> bytes:
    """Returns the compression, none, and the masked checksum of a block."""
    crc = ~0 & 0xFFFFFFFF
    for byte in block + b"\0":
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return b"\0" + struct.pack("<I", masked)


def change_png(rng: random.Random, content: bytes) -> bytes:
    """Returns a PNG image with changed chunks, whose checksums are right."""
    chunks, begin = [], 8
    while begin < len(content):
        (size,) = struct.unpack(">I", content[begin : begin + 4])
        chunks.append(
            (content[begin + 4 : begin + 8], content[begin + 8 : begin + 8 + size])
        )
        begin += size + 12
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(chunks))
        kind, data = chunks[at]
        if kind == b"IHDR" and rng.randrange(2):
            sizes = [rng.choice((0, 1, 28, 8000, 70_000, 2**31 - 1)) for _ in range(2)]
            bits, color = rng.choice((1, 2, 4, 8, 16)), rng.choice((0, 2, 3, 4, 6, 9))
            chunks[at] = (kind, struct.pack(">IIBBBBB", *sizes, bits, color, 0, 0, 0))
        elif rng.randrange(2):
            chunks[at] = (kind, change_bytes(rng, data))
        else:
            names = (
                b"PLTE tRNS iCCP zTXt iTXt tEXt eXIf gAMA pHYs acTL fcTL fdAT".split()
            )
            data = rng.choice(
                (
                    *(b"", rng.randbytes(30), b"x\0\0" + zlib.compress(bytes(10**6))),
                    *(b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", b"x\0"),
                )
            )
            chunks.insert(at + 1, (rng.choice(names), data))
    parts = [content[:8]]
    for kind, data in chunks:
        parts += [struct.pack(">I", len(data)), kind, data]
        parts.append(struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)
