"""Update dvc.yaml and pretraining/dvc.yaml: list the source files that each stage imports, directly or indirectly. DVC
does not follow imports.

    python -m scripts.code_deps

Data files, parameters and comments are kept.
"""

from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from learn2talk_core.run.imports import FIRST_PARTY, ROOT, closure
from learn2talk_core.run.networks import network_names

# Folders with a dvc.yaml, and how its paths reach the root of the project.
PIPELINES = {".": "", "pretraining": "../"}


def main() -> None:
    for folder, up in PIPELINES.items():
        update(ROOT / folder / "dvc.yaml", up)


def update(path: Path, up: str) -> None:
    """Rewrite the code dependencies of one dvc.yaml; `up` leads from its folder to the root."""
    yaml = YAML()
    yaml.width = 120
    text = yaml.load(path.read_text())
    for body in text["stages"].values():
        body = body.get("do", body)
        kept = [dep for dep in body.get("deps") or [] if "${" in dep or not is_code(dep.removeprefix(up))]
        own = [dep for dep in kept if "${item.network}" in dep]
        body["deps"] = [up + file for file in sorted(code_of(module_of(body["cmd"]), own))] + kept
    yaml.dump(text, path)


def module_of(command: str) -> str:
    """The module that a command such as `python -m stages.corpus` runs."""
    words = command.split()
    return words[words.index("-m") + 1]


def is_code(dep: str) -> bool:
    """Whether a dependency, relative to the root, is a source file or a folder of them."""
    return dep.endswith(".py") or (dep.split("/")[0] in FIRST_PARTY and (ROOT / dep).is_dir())


def code_of(module: str, of_network: Sequence[str]) -> set[str]:
    """The source files of a stage, without those in `of_network`, which belong only to the stage of one network and are
    written with `${item.network}`. The files that these import, for any network, are included."""
    named = {name.replace("${item.network}", network) for name in of_network for network in network_names()}
    own = {file for name in named for file in _sources(name)}
    files = closure(module)
    for file in own:
        files |= closure(file.removesuffix(".py").replace("/", "."))
    return files - own


def _sources(dep: str) -> list[str]:
    """A file, or the files of a folder."""
    return [str(file.relative_to(ROOT)) for file in (ROOT / dep).rglob("*.py")] or [dep]


if __name__ == "__main__":
    main()
