"""How all our programs end, commands and stages alike: with one line for an error, and an exit status."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from learn2talk_core.run.errors import BadInput, printable

# Messages of torch, OpenCV, the dynamic loader and C++ when memory runs out: none of them raises MemoryError.
_MEMORY = re.compile(
    r"(can't|cannot) allocate memory|(not enough|insufficient|out of) memory|bad_alloc|failed to map segment|"
    r"can't start new thread",
    re.IGNORECASE,
)
INTERRUPTED, CLOSED_PIPE = 130, 141  # a shell's exit statuses for SIGINT and SIGPIPE


def run_program(name: str, work: Callable[[], int], *, go_on: str = "") -> int:
    """Call `work` and return its exit status; errors that the user can fix are printed without a traceback.

    Control characters in printed and logged text, such as those of a hostile file name, are shown as escapes. Status 1:
    a `BadInput`, an error of the operating system, or no memory. 130: Ctrl-C. 141, without a message: the reader of the
    output has closed it (`| head`).

    Args:
        name: of the program; messages begin with it.
        work: the program.
        go_on: added to the message after Ctrl-C.
    """
    with messages():
        try:
            try:
                return work()
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt as error:
            reason = f" ({error})" if str(error) else ""
            print(f"{name}: stopped{reason}{go_on}", file=sys.stderr)
            return INTERRUPTED
        except Exception as error:
            if isinstance(error, OSError):
                _drop_unwritten()
            if isinstance(error, BrokenPipeError):
                return CLOSED_PIPE
            if (known := _explained(error)) is None:
                raise
            print(f"{name}: {known}", file=sys.stderr)
            return 1


@contextmanager
def messages() -> Iterator[None]:
    """Inside the block, log lines go to standard error, and printed and logged text shows control characters as
    escapes."""
    with redirect_stdout(_escaping(sys.stdout)), redirect_stderr(_escaping(sys.stderr)):
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        yield


def _drop_unwritten() -> None:
    """Discard buffered output that cannot be written: flushing it would fail again when Python exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _explained(error: Exception) -> BadInput | None:
    """The error as the user should see it; None for a bug in this project, which needs its traceback."""
    if isinstance(error, BadInput):
        return error
    if short := next((e for e in _chain(error) if isinstance(e, MemoryError) or _MEMORY.search(str(e))), None):
        found = str(short).strip().splitlines()[0][:200] if str(short).strip() else "too little"
        fix = "Give it less at a time (a shorter clip, smaller batches, fewer workers), or raise the memory limit."
        return BadInput("memory", expected="enough of it", found=found, fix=fix)
    if isinstance(error, OSError):
        where, fix = error.filename or "a file", "Check its permissions and the space on its disk."
        return BadInput(where, expected="to read or write it", found=error.strerror or str(error), fix=fix)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ if error.__cause__ is not None else error.__context__


class Escaping:
    """A text stream that writes to `stream`, with control characters as escapes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _escaping(stream: TextIO | Escaping) -> TextIO:
    return cast(TextIO, stream if isinstance(stream, Escaping) else Escaping(stream))
