"""A program that leaves four others behind: OUTPUT [hangs]. Each adds its process id to left.txt where it runs."""

import subprocess
import sys
import time
from pathlib import Path

COUNT = 4


def main() -> None:
    """Start programs that are hard to end: in the background, in a session of its own, deaf to signals, detached."""
    sleeper = "echo $$ >> left.txt; exec sleep 600"
    subprocess.Popen(["sh", "-c", sleeper])
    subprocess.Popen(["sh", "-c", sleeper], start_new_session=True)
    subprocess.Popen(["sh", "-c", f"trap '' HUP INT TERM; {sleeper}"], start_new_session=True)
    subprocess.run(["sh", "-c", 'setsid sh -c "$0" &', sleeper], check=True)
    while not Path("left.txt").is_file() or Path("left.txt").read_text().count("\n") < COUNT:
        time.sleep(0.02)
    Path(sys.argv[1]).touch()
    if "hangs" in sys.argv:
        print("loading weights", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    main()
