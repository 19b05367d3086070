"""Runs the separate program `espeak.py`."""

import importlib.util
import json
import subprocess
import sys
from typing import Any

from learn2talk_core.datasets.embedded import espeak
from learn2talk_core.run.errors import BadInput


def run_espeak(request: dict[str, Any], name: str) -> bytes:
    """The program's answer to `request`; `name` is that of the speaker or of the work, for errors.

    Raises:
        BadInput: the optional package is missing.
        RuntimeError: the program failed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise BadInput(
            "eSpeak's speech and spelling",
            expected="the optional package espeakng-loader",
            found="no such package",
            fix="Install it: pip install 'learn2talk[embedded]'.",
        )
    program = [sys.executable, "-P", espeak.__file__]
    answer = subprocess.run(program, input=json.dumps(request).encode(), capture_output=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"eSpeak failed for {name}: {answer.stderr.decode(errors='replace').strip()}")
    return answer.stdout
