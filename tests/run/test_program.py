import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.program import run_program

log = logging.getLogger("learn2talk")


def failing(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (BadInput("a\x1b[2J.wav", expected="b", found="c", fix="D."), 1, "x: a\\x1b[2J.wav: expected b, found c. D.\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.wav"),
            1,
            "x: a.wav: expected to read or write it, found Permission denied. "
            "Check its permissions and the space on its disk.\n",
        ),
        (MemoryError(), 1, "x: memory: expected enough of it, found too little. Give it less at a time"),
        (MemoryError("Unable to allocate 3 TiB"), 1, "found Unable to allocate 3 TiB. Give it less"),
        (RuntimeError("std::bad_alloc"), 1, "x: memory: expected enough of it, found std::bad_alloc. Give"),
        (KeyboardInterrupt(), 130, "x: stopped; go on\n"),
        (KeyboardInterrupt("parent gone"), 130, "x: stopped (parent gone); go on\n"),
    ],
)
def test_what_a_user_can_correct_is_one_line(
    error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program("x", failing(error), go_on="; go on") == status
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.count("\n") == 1


def test_what_torch_says_without_memory_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        return len(torch.empty(1 << 50))

    assert run_program("x", work) == 1
    assert "x: memory: expected enough of it, found " in capsys.readouterr().err


def test_no_memory_behind_another_error_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        try:
            raise ImportError("regex.so: failed to map segment from shared object")
        except ImportError as error:
            raise RuntimeError("no module x") from error

    assert run_program("x", work) == 1
    assert "x: memory: expected enough of it, found regex.so: failed to map segment" in capsys.readouterr().err


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_program("x", failing(ZeroDivisionError()))
    with pytest.raises(SystemExit):
        run_program("x", failing(SystemExit(2)))


def test_what_is_printed_and_logged_is_escaped(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> int:
        print("out\x1b[31m", os.fsdecode(b"\xff"))
        print("err\x1b[31m", file=sys.stderr)
        return 3

    assert run_program("x", work) == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("out\\x1b[31m \\udcff\n", "err\\x1b[31m\n")


LOGGING = """
import logging, sys
from learn2talk_core.run.program import run_program
sys.exit(run_program("x", lambda: logging.getLogger("learn2talk").warning("clip %s", "a\\x1b[2J") or 0))
"""
PRINTING = """
import sys
from learn2talk_core.run.program import run_program
sys.exit(run_program("x", lambda: print(*range(int(sys.argv[1])), sep="\\n") or 0))
"""


def test_logs_are_escaped() -> None:
    run = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True)
    assert run.stderr == "clip a\\x1b[2J\n"


@pytest.mark.parametrize("lines", [10, 100_000])  # less and more than a buffer
def test_a_closed_pipe_ends_it_quietly(lines: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-c", PRINTING, str(lines)], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_output_that_does_not_fit_is_told() -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-c", PRINTING, "10"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert run.returncode == 1
    assert run.stderr.startswith("x: a file: expected to read or write it, found No space left on device.")
    assert run.stderr.count("\n") == 1
