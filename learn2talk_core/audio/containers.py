"""Check that a sound file contains the samples that its headers state; decoders silently accept truncated files."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import log

STREAMED = 2_000_000_000  # bytes; programs that write to a pipe state this or more (0x7FFFF000, 2^31 - 1, 2^32 - 1)
STREAMED_64 = 2**62  # the same for 64-bit lengths
SLACK = 128  # bytes; some programs include the header in the length of the samples
MOST_CHUNKS = 10_000
MANY = 2**63 - 1


@dataclass(frozen=True)
class Chunks:
    """A container format of chunks, each a name, a length and that many bytes.

    Attributes:
        start: bytes before the first chunk.
        header: format of a chunk's name and length.
        data: the name of the chunk with the samples.
        align: chunks begin at multiples of this many bytes.
        counted: how many bytes of a chunk's own header its length includes.
        streamed: lengths of at least this mean that the length was unknown.
    """

    start: int
    header: struct.Struct
    data: bytes
    align: int = 2
    counted: int = 0
    streamed: int = STREAMED


WAV = Chunks(12, struct.Struct("<4sI"), b"data")
RIFX = Chunks(12, struct.Struct(">4sI"), b"data")
AIFF = Chunks(12, struct.Struct(">4sI"), b"SSND")
W64 = Chunks(40, struct.Struct("<16sQ"), b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 8, 24, STREAMED_64)
CAF = Chunks(8, struct.Struct(">4sQ"), b"data", 1, 0, STREAMED_64)
KINDS = {  # by the first four bytes, and bytes 8 to 12
    (b"RIFF", b"WAVE"): WAV,
    (b"RF64", b"WAVE"): WAV,
    (b"RIFX", b"WAVE"): RIFX,
    (b"FORM", b"AIFF"): AIFF,
    (b"FORM", b"AIFC"): AIFF,
    (b"riff", b"\xa5\xd6\x28\xdb"): W64,
    (b"caff", b"desc"): CAF,
}


def frames_promised(path: Path, where: object) -> int:
    """Raise `BadInput` for a WAV, RF64, W64, AIFF, CAF, AU or Ogg file whose end is missing.

    Small differences, and lengths that the writer did not know, are accepted, at most with a warning.

    Returns:
        A lower bound of the number of frames, to compare with what libsndfile finds: 0, 1 if there are bytes of
        samples, `MANY` for consecutive Ogg streams. libsndfile finds fewer if a length was never filled in, and reads
        only the first of several streams.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            return _ogg(file, size, where)
        if head[:4] == b".snd":
            start, told = struct.unpack(">II", head[4:].ljust(8, b"\0"))
            return _compared(told, size - start, STREAMED, where)
        kind = KINDS.get((head[:4], head[8:12]))
        if kind is None:
            return 0
        told = _find_samples(file, kind, size, where)
        found = size - file.tell()
        if told == 0 and _only_chunks(file, kind, size):
            return 0
        return _compared(told, found, kind.streamed, where)


def cut_short(where: object, expected: str, found: str) -> BadInput:
    """The error for a file whose end is missing."""
    return BadInput(where, expected=expected, found=f"{found}: the file is cut short", fix="Copy or record it again.")


def _compared(told: int, found: int, streamed: int, where: object) -> int:
    """Compare the bytes of samples that a header states with those between their start and the end of the file."""
    if found + SLACK < told < streamed:
        raise cut_short(where, f"{told} bytes of samples", str(found))
    if told == 0 < found or found < told < streamed:
        log.warning("%s: its header states %d bytes of samples and the file has %d; all are read", where, told, found)
    return int(found > 0)


def _find_samples(file: BinaryIO, kind: Chunks, size: int, where: object) -> int:
    """Seek to the chunk with the samples; return its number of bytes according to the headers."""
    file.seek(kind.start)
    long = 0  # RF64 states the length in a separate chunk
    for _ in range(MOST_CHUNKS):
        header = file.read(kind.header.size)
        if len(header) < kind.header.size:
            break
        name, length = kind.header.unpack(header)
        if name == kind.data:
            return long if long and length == 0xFFFFFFFF else max(0, length - kind.counted)
        content = length - kind.counted
        if name == b"ds64" and content >= 16:
            long = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
            content -= 16
        if not 0 <= content <= size - file.tell():
            break
        file.seek(content, 1)
        file.seek(-file.tell() % kind.align, 1)
    raise cut_short(where, "a sound file with samples", "no chunk of samples")


def _only_chunks(file: BinaryIO, kind: Chunks, size: int) -> bool:
    """Whether the rest of the file consists of chunks: then the stated length of 0 is true."""
    place = file.tell()
    while place < size:
        file.seek(place)
        header = file.read(kind.header.size)
        if len(header) < kind.header.size or not all(0x20 <= byte < 0x7F for byte in header[:4]):
            return False
        place += max(kind.header.size, kind.header.size + kind.header.unpack(header)[1] - kind.counted)
        place += -place % kind.align
    return place - size < kind.align


def _ogg(file: BinaryIO, size: int, where: object) -> int:
    place, first, ended, streams = 0, False, True, 0
    while place < size:
        file.seek(place)
        header = file.read(27)
        if not b"OggS".startswith(header[:4]):  # a tag after the last page
            break
        lengths = file.read(header[26]) if len(header) == 27 else b""
        place += 27 + len(lengths) + sum(lengths)
        if len(header) < 27 or len(lengths) < header[26] or place > size:
            raise cut_short(where, "complete Ogg pages", "a part of the last one")
        before, first, ended = first, bool(header[5] & 2), bool(header[5] & 4)
        streams += first and not before  # streams whose first pages are adjacent play at the same time
    if not ended:
        log.warning("%s: its last Ogg page is not marked as the last; the end may be missing", where)
    return MANY if streams > 1 else 0
