import io
import sys

import pytest

from learn2talk_core.run.program import run_program
from learn2talk_core.run.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bar() -> int:
    steps = progress(range(2, 4), "train\x1b[2J", total=4, start=2, unit="step")
    assert list(steps) == [2, 3]
    steps.set_postfix(loss="1")
    return 0


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run_program("x", bar) == 0
    shown = terminal.getvalue()
    assert "\rtrain\\x1b[2J: " in shown
    assert "| 2/4 [" in shown
    assert "4/4" in shown


def test_nothing_else_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert bar() == 0
    assert run_program("x", bar) == 0
    assert capsys.readouterr() == ("", "")
