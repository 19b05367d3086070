"""MP3 files, and several MP3s concatenated in one file: where each begins, and how many frames it has.

ISO/IEC 11172-3 and 13818-3, layers II and III. The Xing header, in the first frame of most files, states the number
of the other frames.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

KBPS = {  # by (MPEG 1 or not, layer)
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44100, 48000, 32000)  # Hz in MPEG 1; half of that in MPEG 2, a quarter in MPEG 2.5
START = re.compile(rb"ID3|\xff[\xe2-\xff]")
SLACK = 2  # frames; some encoders also count the frame of the Xing header


class Frame(NamedTuple):
    """A frame's header: length in bytes, number of samples, and what is constant within one MP3."""

    length: int
    samples: int
    version: int  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    layer: int
    rate: int
    mono: bool

    def like(self, other: "Frame | None") -> bool:
        return other is not None and self[1:] == other[1:]


@dataclass
class Part:
    """One MP3 in a file: its place in bytes, frames found, and frames stated by its Xing header (None if not)."""

    start: int
    end: int
    frame: Frame
    found: int
    told: int | None
    told_end: int = 0  # where the frames that the header states end

    @property
    def cut_short(self) -> bool:
        """Whether frames are missing at its end."""
        return self.told is not None and self.found + SLACK < self.told


def mp3_parts(path: Path) -> list[Part]:
    """The MP3s in a file, in order; empty for a file of another format."""
    with path.open("rb") as file:
        head = file.read(4)
        if head[:3] != b"ID3" and _frame(head) is None:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            parts = [part for whole in _parts(data) for part in _split(whole)]
    return [part for part in parts if part.told is not None or part.found > SLACK] or parts


def _parts(data: mmap.mmap) -> list[Part]:
    """Split at every tag, every Xing header, and every change of sample rate or channels."""
    parts: list[Part] = []
    for place, frame, tagged in _frames(data):
        xing, told = _xing(data, place, frame)
        if not parts or tagged or xing or not frame.like(parts[-1].frame):
            parts.append(Part(place, place, frame, 0, told))
        part = parts[-1]
        part.found += not xing
        part.end = place + frame.length
        if part.found == part.told:
            part.told_end = part.end
    return parts


def _split(part: Part) -> list[Part]:
    """If there are more frames than the header states, the rest is another MP3 without a header."""
    if part.told is None or part.found <= part.told + SLACK:
        return [part]
    start = part.told_end or part.start  # told_end is 0 if the header states 0 frames
    rest = Part(start, part.end, part.frame, part.found - part.told, None)
    return [Part(part.start, start, part.frame, part.told, part.told), rest] if part.told else [rest]


def _frames(data: mmap.mmap) -> Iterator[tuple[int, Frame, bool]]:
    """Place and header of each complete frame, and whether an ID3 tag precedes it."""
    place, before, tagged = 0, None, False
    while match := START.search(data, place):
        place = match.start()
        frame = _frame(data[place : place + 4])
        if match.group() == b"ID3":
            place, tagged = place + _tag_length(data[place : place + 10]), True
        elif frame is not None and place + frame.length <= len(data) and _fits(frame, before, data, place):
            yield place, frame, tagged
            place, before, tagged = place + frame.length, frame, False
        else:
            place += 1


def _fits(frame: Frame, before: Frame | None, data: mmap.mmap, place: int) -> bool:
    """Whether four bytes are a header and do not only look like one by chance.

    They are if they agree with the previous header, or if another header that agrees with them, a tag or the end of the
    file follows the frame.
    """
    if frame.like(before):
        return True
    after = data[place + frame.length : place + frame.length + 4]
    following = _frame(after)
    return not after or after[:3] in (b"ID3", b"TAG", b"APE") or (following is not None and frame.like(following))


@lru_cache(maxsize=1024)
def _frame(header: bytes) -> Frame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbps, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer not in (2, 3) or kbps in (0, 15) or rate == 3:
        return None
    hertz = RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    samples = 576 if layer == 3 and version != 3 else 1152
    length = samples // 8 * 1000 * KBPS[version == 3, layer][kbps - 1] // hertz + padding
    return Frame(length, samples, version, layer, hertz, header[3] >> 6 == 3)


def _xing(data: mmap.mmap, place: int, frame: Frame) -> tuple[bool, int | None]:
    """Whether a frame is a Xing header, and the number of other frames that it states, or None."""
    if frame.version == 3:
        place += 4 + (17 if frame.mono else 32)
    else:
        place += 4 + (9 if frame.mono else 17)
    name, flags, count = data[place : place + 4], data[place + 7 : place + 8], data[place + 8 : place + 12]
    if frame.layer != 3 or name not in (b"Xing", b"Info") or len(count) < 4:
        return False, None
    return True, int.from_bytes(count, "big") if flags[0] & 1 else None


def _tag_length(head: bytes) -> int:
    """Length in bytes of an ID3v2 tag from its first ten bytes; 3 if they are not a valid tag header."""
    if len(head) < 10 or max(head[6:]) > 0x7F or max(head[3:5]) == 0xFF:
        return 3
    a, b, c, d = head[6:]
    return 10 + (a << 21 | b << 14 | c << 7 | d)
