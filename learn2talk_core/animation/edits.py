"""Edits of the curves that are kept in a file and applied on every run: keys, gains, offsets, expressions.

A JSON file is a list of entries, or an object with the list under `edits`:

    [{"shape": "jawOpen", "from": 1.2, "to": 2.0, "gain": 1.3},
     {"shape": "lips", "gain": 1.1, "offset": 0.02},
     {"shape": "browInnerUp", "keys": [[0.5, 0], [0.7, 0.6], [1.4, 0]]},
     {"expression": "smile", "from": 2, "to": 4, "strength": 0.5},
     {"expression": "sad", "keys": [[4, 0], [5, 0.8], [7, 0]]}]

A CSV file has the same columns, one entry a row, and for keys the columns `shape,time,value`, one key a row. Times are
seconds of the sound; without them an entry holds from start to end. A shape is one of ARKit's or a group (jaw, lips,
cheeks, tongue, brows, eyes). Keys of a shape take the place of its curve, or with a gain are added to gain × curve.
Keys of an expression are its strength. Entries are applied in their order.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from learn2talk_core.animation.blend_shapes import ARKIT, arkit_name
from learn2talk_core.run.errors import BadInput

GROUPS = {
    "jaw": "jaw",
    "lips": "mouth",
    "cheeks": "cheek",
    "tongue": "tongue",
    "brows": "brow",
    "eyes": "eye",
    "nose": "nose",
}
EXPRESSIONS: dict[str, dict[str, float]] = {  # a name without a side means both sides
    "smile": {"mouthSmile": 0.6, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthDimple": 0.15},
    "sad": {"mouthFrown": 0.5, "browInnerUp": 0.7, "browDown": 0.15, "mouthShrugLower": 0.25, "eyeSquint": 0.1},
    "angry": {"browDown": 0.8, "noseSneer": 0.35, "eyeSquint": 0.35, "mouthFrown": 0.2, "mouthUpperUp": 0.1},
    "surprised": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.6, "jawOpen": 0.08},
    "afraid": {"browInnerUp": 0.8, "browOuterUp": 0.3, "eyeWide": 0.6, "mouthStretch": 0.35},
    "disgusted": {"noseSneer": 0.8, "browDown": 0.4, "mouthUpperUp": 0.25, "mouthFrown": 0.2, "cheekSquint": 0.3},
    "brows-up": {"browInnerUp": 0.6, "browOuterUp": 0.6},
    "cheeks-up": {"cheekSquint": 0.7, "eyeSquint": 0.2},
}
FADE = 0.15  # seconds at each end of a time range, unless `fade` says otherwise
FIX = "docs/animate.md shows the form."
_NUMBERS = ("from", "to", "gain", "offset", "strength", "fade", "time", "value")
_KEYS = {*_NUMBERS, "shape", "expression", "keys"}


@dataclass(frozen=True)
class Edit:
    """One entry.

    Attributes:
        weights: for each shape that it changes, what 1 of the offset or of the keys means.
        start, end: seconds.
        gain: factor on the weights.
        offset: added to them.
        keys: (n, 2) seconds and weights that are added, too, between the first and the last; or None.
        fade: seconds in which the entry sets in and ends.
    """

    weights: Mapping[str, float]
    start: float = -math.inf
    end: float = math.inf
    gain: float = 1.0
    offset: float = 0.0
    keys: tuple[tuple[float, float], ...] | None = None
    fade: float = FADE

    def apply(self, curves: np.ndarray, fps: float) -> np.ndarray:
        """The weights (T, 52) with this entry, in 0..1."""
        times = np.arange(len(curves)) / fps
        columns = [ARKIT.index(name) for name in self.weights]
        size = np.array(list(self.weights.values()))
        old = curves[:, columns].astype(np.float64)
        start, end, added = self.start, self.end, np.full(len(curves), self.offset)
        if self.keys is not None:
            at, value = np.array(self.keys).T
            start, end, added = at[0], at[-1], added + np.interp(times, at, value)
        share, new = self._share(times, start, end), self.gain * old + added[:, None] * size
        result = curves.astype(np.float64)
        result[:, columns] = np.clip(old + share[:, None] * (new - old), 0, 1)
        return result

    def _share(self, times: np.ndarray, start: float, end: float) -> np.ndarray:
        """How far the entry holds: 1 in its range, with soft ramps outside of it."""
        outside = np.maximum(np.maximum(start - times, times - end), 0)
        near = np.clip(1 - outside / max(self.fade, 1e-6), 0, 1)
        return near * near * (3 - 2 * near)


def groups_of(name: str) -> list[str]:
    """The ARKit shapes of a group, or the shape itself; none for another name."""
    if name in GROUPS:
        return [shape for shape in ARKIT if shape.startswith(GROUPS[name])]
    own = arkit_name(name)
    return [] if own is None else [own]


def expression(
    name: str,
    strength: float = 1.0,
    start: float = -math.inf,
    end: float = math.inf,
    keys: tuple[tuple[float, float], ...] | None = None,
    fade: float = 2 * FADE,
) -> Edit:
    """An expression over the speech, such as smile; `strength` 0 … 2, 1 is clear, or `keys` of seconds and strength."""
    if name not in EXPRESSIONS:
        raise BadInput("expression", expected=f"one of {', '.join(EXPRESSIONS)}", found=name, fix="Choose one.")
    for value in [strength] if keys is None else [value for _, value in keys]:
        if not 0 <= value <= 2:
            expected = f"a strength of 0 … 2 for {name}"
            raise BadInput("expression", expected=expected, found=f"{value:g}", fix="1 is clear.")
    weights: dict[str, float] = {}
    for shape, weight in EXPRESSIONS[name].items():
        for whole in [shape] if shape in ARKIT else [f"{shape}Left", f"{shape}Right"]:
            weights[whole] = weight
    return Edit(weights, start, end, offset=strength if keys is None else 0.0, keys=keys, fade=fade)


def parse_expressions(text: str) -> tuple[Edit, ...]:
    """Parse `smile=0.5,brows-up` of the command line."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        try:
            strength = float(number or 1)
        except ValueError:
            raise BadInput(
                "--expression", expected="NAME=NUMBER, such as smile=0.5", found=part, fix="Correct it."
            ) from None
        found.append(expression(name.strip(), strength))
    return tuple(found)


def read_edits(path: str | Path) -> tuple[Edit, ...]:
    """Read an edit file, JSON or CSV.

    Raises:
        BadInput: not such a file, unknown names, or values that are not finite numbers; it names the entry.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "bytes that are not text"
        raise BadInput(path, expected="an edit file, JSON or CSV", found=found, fix=FIX) from error
    entries = _of_csv(path, text) if path.suffix.lower() == ".csv" else _of_json(path, text)
    return tuple(_edit(f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1))


def _of_json(path: Path, text: str) -> list[Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(path, expected="an edit file as JSON", found=str(error)[:200], fix=FIX) from error
    content = content.get("edits") if isinstance(content, dict) else content
    if not isinstance(content, list):
        raise BadInput(path, expected="a list of edits", found=type(content).__name__, fix=FIX)
    return content


def _of_csv(path: Path, text: str) -> list[dict[str, Any]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = {name for row in rows for name in row if name is not None}
    if rows and not columns <= _KEYS:
        expected = f"columns among {', '.join(sorted(_KEYS - {'keys'}))}"
        raise BadInput(path, expected=expected, found=", ".join(sorted(columns - _KEYS)), fix=FIX)
    entries: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {
            key: value.strip() for key, value in row.items() if key is not None and (value or "").strip()
        }
        if "time" in entry or "value" in entry:
            key = [entry.pop("time", None), entry.pop("value", None)]
            if entries and "keys" in entries[-1] and {**entries[-1], "keys": 0} == {**entry, "keys": 0}:
                entries[-1]["keys"].append(key)
                continue
            entry["keys"] = [key]
        entries.append(entry)
    return entries


def _edit(where: str, entry: Any) -> Edit:
    if not isinstance(entry, dict):
        raise BadInput(where, expected="an object with shape or expression", found=type(entry).__name__, fix=FIX)
    unknown = [key for key in entry if key not in _KEYS]
    if unknown or ("shape" in entry) == ("expression" in entry):
        found = f"the entry {unknown[0]}" if unknown else "both or neither"
        raise BadInput(where, expected="shape or expression, and times and values", found=found, fix=FIX)
    numbers = {key: _number(where, key, entry[key]) for key in _NUMBERS if key in entry}
    start, end = numbers.get("from", -math.inf), numbers.get("to", math.inf)
    if start > end:
        raise BadInput(where, expected="from before to", found=f"{start:g} and {end:g}", fix=FIX)
    keys = _keys(where, entry["keys"]) if "keys" in entry else None
    fade = numbers.get("fade", 2 * FADE if "expression" in entry else FADE)
    if fade < 0:
        raise BadInput(where, expected="a fade of 0 or more", found=f"{fade:g}", fix=FIX)
    other = {"gain", "offset"} if "expression" in entry else {"strength"}
    other |= {"from", "to", "strength"} if keys is not None else set()
    if foreign := sorted(other & numbers.keys()):
        kind = "an expression" if "expression" in entry else "a shape"
        expected = f"no {foreign[0]} for {kind}{' with keys' if keys is not None else ''}"
        raise BadInput(where, expected=expected, found=f"{numbers[foreign[0]]:g}", fix=FIX)
    if "expression" in entry:
        try:
            return expression(str(entry["expression"]), numbers.get("strength", 1.0), start, end, keys, fade)
        except BadInput as error:
            raise BadInput(where, expected=error.expected, found=error.found, fix=error.fix) from None
    shapes = groups_of(str(entry["shape"]))
    if not shapes:
        expected = f"an ARKit shape or one of {', '.join(GROUPS)}"
        raise BadInput(where, expected=expected, found=str(entry["shape"])[:60], fix="docs/export.md lists the shapes.")
    if keys is None and not {"gain", "offset"} & numbers.keys():
        raise BadInput(where, expected="gain, offset or keys", found="none of them", fix=FIX)
    gain = numbers.get("gain", 1.0 if keys is None else 0.0)
    if gain < 0:
        raise BadInput(where, expected="a gain of 0 or more", found=f"{gain:g}", fix=FIX)
    return Edit(dict.fromkeys(shapes, 1.0), start, end, gain, numbers.get("offset", 0.0), keys, fade)


def _keys(where: str, keys: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(keys, Sequence) or isinstance(keys, str) or not keys:
        raise BadInput(where, expected="keys as [[seconds, weight], …]", found=f"{keys!r:.60}", fix=FIX)
    found = []
    for key in keys:
        if not isinstance(key, Sequence) or isinstance(key, str) or len(key) != 2:
            raise BadInput(where, expected="keys as [[seconds, weight], …]", found=f"{key!r:.60}", fix=FIX)
        found.append((_number(where, "time", key[0]), _number(where, "value", key[1])))
    if any(b[0] <= a[0] for a, b in pairwise(found)):
        raise BadInput(where, expected="keys at increasing times", found="others", fix="Sort them.")
    return tuple(found)


def _number(where: str, name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(where, expected=f"a finite number as {name}", found=f"{value!r:.60}", fix="Correct it.")
    return number
