"""Coordinates as text, formatted by compiled code: Python's own formatting takes twenty times as long."""

import math

import numpy as np
from numba import njit

RESOLUTION = 1e-4  # millimetres
WIDEST = 21  # characters of a number: sign, point, 19 digits


def decimals(mm_per_unit: float) -> int:
    """Number of decimals needed for a resolution of 1e-4 mm."""
    return min(max(0, math.ceil(math.log10(mm_per_unit / RESOLUTION) - 1e-9)), 12)


def triples(numbers: np.ndarray, decimals: int, *, start: bytes, between: bytes, end: bytes) -> bytes:
    """Format (n, 3) numbers, rounded to `decimals`: each row is `start` x `between` y `between` z `end`."""
    whole = np.rint(numbers.astype(np.float64) * 10.0**decimals).astype(np.int64)
    first, then, last = (np.frombuffer(word, np.uint8) for word in (start, between, end))
    text = np.empty(len(whole) * (3 * WIDEST + len(start) + 2 * len(between) + len(end)), np.uint8)
    return text[: _print(whole, decimals, first, then, last, text)].tobytes()


@njit(cache=True, nogil=True)
def _print(whole, decimals, start, between, end, text):  # type: ignore[no-untyped-def]
    """Write rows of whole / 10^decimals into `text`, and return its length."""
    length = 0
    for i in range(whole.shape[0]):
        for axis in range(3):
            for character in between if axis else start:
                text[length] = character
                length += 1
            number = whole[i, axis]
            if number < 0:
                text[length] = 45  # -
                length += 1
                number = -number
            digits, rest = 1, number // 10
            while rest > 0 or digits <= decimals:
                digits += 1
                rest //= 10
            last = length + digits - (0 if decimals > 0 else 1)
            for place in range(digits):
                if place == decimals and decimals > 0:
                    text[last] = 46  # .
                    last -= 1
                text[last] = 48 + number % 10
                last -= 1
                number //= 10
            length += digits + (1 if decimals > 0 else 0)
        for character in end:
            text[length] = character
            length += 1
    return length
