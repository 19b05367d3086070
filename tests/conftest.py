import os
import signal
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

# A shell starts what it puts into the background with Ctrl-C ignored, and so would be every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def empty_folders(request: pytest.FixtureRequest) -> Iterator[None]:
    """Deletes the files that a passed test has left: those of all tests take 10 GB.

    Folders stay, because workers that the next test uses again may stand in them.
    """
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is None or request.node.stash.get(_failed, False):
        return
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # in a folder that the test has made read-only
                Path(place, name).unlink()
