"""Check the names of networks in params.yaml, before DVC looks for their files: `make repro` does.

python -m scripts.check_networks
"""

import argparse

from learn2talk_core.run.config import read_yaml
from learn2talk_core.run.networks import check_networks
from learn2talk_core.run.program import run_program


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()

    def work() -> int:
        check_networks(read_yaml("params.yaml"))
        return 0

    raise SystemExit(run_program("check_networks", work))


if __name__ == "__main__":
    main()
