import subprocess
import sys
from pathlib import Path

import pytest

from learn2talk_core.cli import main
from tests.corpus.test_check import write


def test_check_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-corpus", str(write(tmp_path / "corpus"))]) == 0
    assert capsys.readouterr().out.endswith("no problems\n")


def test_check_corpus_with_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-corpus", str(write(tmp_path / "corpus", text=""))]) == 1
    assert "problems:\nclip c1: no text" in capsys.readouterr().err


def test_bad_input_is_one_message_without_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "learn2talk_core.cli", "check-corpus", str(tmp_path / "none")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.strip() == (
        f"learn2talk check-corpus: {tmp_path}/none/corpus.json: expected a file, found nothing. "
        "Make it first: dvc repro corpus."
    )


@pytest.mark.parametrize("command", ["show-corpus", "check-corpus"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "folder of the corpus (default: data/corpus)" in capsys.readouterr().out
