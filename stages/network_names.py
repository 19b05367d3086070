"""params.yaml → data/network_names.json: the networks that params.yaml names are known; an unknown one is refused.

Every stage of a network depends on it, so that a wrong name is one error before DVC looks for files of that name. What
it writes never changes: another student trains no other again.
"""

from dataclasses import dataclass

from learn2talk_core.run.config import shared
from learn2talk_core.run.files import write_json
from learn2talk_core.run.networks import check_networks, network_names
from learn2talk_core.run.paths import NETWORK_NAMES
from learn2talk_core.run.stage import run
from learn2talk_core.run.students import PlainStudent, TaughtStudent


@dataclass(frozen=True)
class Params:
    networks: dict[str, str] = shared()
    students: dict[str, PlainStudent] = shared()
    taught_students: dict[str, TaughtStudent] = shared()


def main(params: Params) -> str:
    check_networks(params.networks, params.students, params.taught_students)
    write_json(NETWORK_NAMES, {"networks": "known"})
    return f"{len(params.networks)} of {len(network_names())} networks are used"


if __name__ == "__main__":
    run(main, Params)
