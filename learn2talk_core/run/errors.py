"""The one error type that users are meant to read, and how untrusted text is shown in it."""

import re
from collections.abc import Iterable

LONGEST = 2000  # characters of each part of a message
# Control characters except tab and line feed, characters that change the direction of text or break a line invisibly,
# and the lone surrogates that stand for bytes of a file name that are not UTF-8.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class BadInput(Exception):
    """Something the user gave us is wrong, and we can say what to do about it.

    The command line prints only the text of this error, without a traceback.

    Args:
        where: the file, clip or parameter that is wrong.
        expected: what should have been there.
        found: what was there.
        fix: what the user can do.
    """

    def __init__(self, where: object, *, expected: str, found: str, fix: str) -> None:
        self.where, self.expected, self.found, self.fix = where, expected, found, fix
        text = f"{_cut(str(where))}: expected {_cut(expected)}, found {_cut(found)}. {fix}"
        super().__init__(printable(text))

    def __reduce__(self) -> tuple:  # the keyword-only arguments must survive pickling in a process pool
        return _rebuild, (self.where, self.expected, self.found, self.fix)


def printable(text: str) -> str:
    """`text` with control and unprintable characters as escapes: ESC becomes the four characters \\x1b."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def some_of(names: Iterable[str], most: int = 10) -> str:
    """Names for a message: the first `most` of them, and how many more there are."""
    names = list(names)
    rest = f" … and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … and {len(text) - LONGEST} more characters"


def _rebuild(where: object, expected: str, found: str, fix: str) -> BadInput:
    return BadInput(where, expected=expected, found=found, fix=fix)
