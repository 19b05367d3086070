import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# a stage that is interrupted while a thread still uses a semaphore of joblib, as the thread that watches workers does
INTERRUPTED = """
import threading
from joblib.externals.loky.backend.synchronize import Lock
from learn2talk_core.run.stage import run
from stages import syncnet3d

def main(params):
    lock = Lock()
    threading.Thread(target=lambda: lock.acquire() and lock.acquire(), daemon=True).start()
    raise KeyboardInterrupt

__spec__ = syncnet3d.__spec__
run(main, syncnet3d.Params)
"""


def test_an_interrupted_stage_leaves_no_semaphore(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (130, "syncnet3d: stopped; run it again to go on\n")
