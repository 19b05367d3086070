"""Run a program and kill everything that it started. This is a separate process, started by the path of this file:

    python -I -S supervisor.py PRINTED WORD...

It runs the program WORD... with its output in the file PRINTED. It waits until the program ends or its own standard
input is closed. The input is a pipe, which the operating system closes when the process at the other end dies, for
whatever reason. Then it kills what is left of the program and its descendants, and prints the program's exit status
(negative: the number of the signal that ended it).

On Linux the supervisor adopts descendants whose parent has ended, so that it finds background processes and processes
in a session of their own (`setsid`). On other systems it kills only the process group of the program. Processes that
another service starts for the program (Docker, systemd, a batch queue) are not descendants.

Only the standard library is imported, because one supervisor runs for every clip.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PATIENCE = 10.0  # seconds; a process that waits for a broken device cannot be killed


def main(printed: str, words: list[str]) -> int:
    """Run the program `words`; returns its exit status, 127 if it cannot be started."""
    _adopt_orphans()
    with open(printed, "wb") as output:
        try:
            program = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            output.write(f"{error}\n".encode())
            return 127
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _kill(program.pid))
    threading.Thread(target=_wait_for_owner, daemon=True).start()
    ended, status = os.wait()
    while ended != program.pid:  # an adopted orphan
        ended, status = os.wait()
    _end_all(program.pid)
    return os.waitstatus_to_exitcode(status)


def _adopt_orphans() -> None:
    with suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_owner() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _end_all(group: int) -> None:
    """Kill repeatedly until no child is left: when a process dies, we adopt its children."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _kill(group)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _kill(group: int) -> None:
    with suppress(OSError):  # it has ended
        os.killpg(group, signal.SIGKILL)
    for process in _descendants():
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else []):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])  # the name, in (), may contain anything
        except (OSError, IndexError):
            continue  # it has ended
        children.setdefault(parent, []).append(int(name))
    found = children.get(os.getpid(), [])
    for process in found:  # grows
        found += children.get(process, [])
    return found


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2:]))
