"""Start Python processes that train together, as a launcher would, and read what became of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(code: str, *arguments: str, folder: Path, count: int = 2) -> list[subprocess.Popen[str]]:
    """Run `code` in `count` processes that know of each other by the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=environment() | shared | {"RANK": str(rank)},
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def ended(processes: list[subprocess.Popen[str]], seconds: float = 200) -> list[tuple[int, str]]:
    """Exit status and standard error of each."""
    try:
        texts = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, texts, strict=True)]
