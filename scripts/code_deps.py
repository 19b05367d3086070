"""Update dvc.yaml: list the source files that each stage imports, directly or indirectly. DVC does not follow imports.

    python -m scripts.code_deps

Data files, parameters and comments are kept.
"""

import re
from collections.abc import Sequence

from ruamel.yaml import YAML

from learn2talk_core.run.imports import FIRST_PARTY, ROOT, closure
from learn2talk_core.run.networks import network_names

NETWORK = re.compile(r"\$\{item(\.network)?\}")  # an item of `networks`, or the network of a student


def main() -> None:
    yaml = YAML()
    yaml.width = 120
    path = ROOT / "dvc.yaml"
    text = yaml.load(path.read_text())
    for body in text["stages"].values():
        body = body.get("do", body)
        module = body["cmd"].split()[2]
        kept = [
            dep for dep in body.get("deps", []) if "${" in dep or (not dep.endswith(".py") and not _is_package(dep))
        ]
        body["deps"] = sorted(code_of(module, [dep for dep in kept if is_of_network(dep)])) + kept
    yaml.dump(text, path)


def code_of(module: str, of_network: Sequence[str]) -> set[str]:
    """The source files of a stage, without those in `of_network`, which belong only to the stage of one network and are
    written with its name. The files that these import, for any network, are included."""
    named = {with_network(name, network) for name in of_network for network in network_names()}
    own = {file for name in named for file in _sources(name)}
    files = closure(module)
    for file in own:
        files |= closure(file.removesuffix(".py").replace("/", "."))
    return files - own


def is_of_network(dep: str) -> bool:
    """Whether a dependency is source code that is written with the name of a network."""
    return dep.split("/")[0] in FIRST_PARTY and NETWORK.search(dep) is not None


def with_network(dep: str, network: str) -> str:
    """The dependency `dep` of the stage of `network`."""
    return NETWORK.sub(network, dep)


def _sources(dep: str) -> list[str]:
    """A file, or the files of a folder."""
    return [str(file.relative_to(ROOT)) for file in (ROOT / dep).rglob("*.py")] or [dep]


def _is_package(dep: str) -> bool:
    return dep.split("/")[0] in FIRST_PARTY and (ROOT / dep).is_dir()


if __name__ == "__main__":
    main()
