import os

import pytest

from learn2talk_core.run.errors import BadInput, printable, some_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünïcode 日本\tx\n", "plain – ünïcode 日本\tx\n"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\rb\x08\x7f", r"a\rb\x08\x7f"),
        ("\x9b31m", r"\x9b31m"),  # ESC [ as one character
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        (os.fsdecode(b"caf\xe9.wav"), r"caf\udce9.wav"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    error = BadInput(text, expected=text, found=text, fix="Correct it.")
    assert str(error) == f"{shown}: expected {shown}, found {shown}. Correct it."
    assert error.where == text


def test_long_lists_are_cut() -> None:
    assert some_of("abc") == "a, b, c"
    assert some_of(map(str, range(133))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … and 123 more"
    message = str(BadInput("x", expected="y", found="k" * 10_000, fix="Correct it."))
    assert message.endswith("kkk … and 8000 more characters. Correct it.")
