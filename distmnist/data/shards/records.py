"""Records of TFRecord files: a length, its checksum, data, and their checksum.

See the comment in TensorFlow's `tensorflow/core/lib/io/record_writer.h`. Its own reader
with random access is slow, and not public; so these are plain reads of a file, checked
by google-crc32c.
"""

from __future__ import annotations

import struct
from typing import Any

import google_crc32c

HEADER = 12
"""Bytes before the data."""

FOOTER = 4
"""Bytes after the data."""

OVERHEAD = HEADER + FOOTER
"""Bytes of a record that are not data."""


def header(size: int) -> bytes:
    """Returns what comes before data of so many bytes."""
    length = struct.pack("<Q", size)
    return length + struct.pack("<I", checksum(length))


def footer(*parts: Any) -> bytes:
    """Returns what comes after data; the arguments are those of `checksum`."""
    return struct.pack("<I", checksum(*parts))


def framed(data: bytes) -> bytes:
    """Returns the record of data."""
    return header(len(data)) + data + footer(data)


def checksum(*parts: Any) -> int:
    """Returns the masked CRC32C of data.

    Args:
        *parts: bytes or contiguous arrays, one after the other.
    """
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    # Masked, because data may hold checksums themselves.
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
