"""Write into dvc.yaml the source files that each stage imports, directly or not. DVC does not follow imports itself.

    python -m scripts.code_deps

Data files, parameters and comments stay as they are. No code is run: imports are read from the syntax tree.
"""

import ast
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from learn2talk_core.run.networks import network_names

ROOT = Path(__file__).parents[1]
FIRST_PARTY = ("stages", "learn2talk_core", "learn2talk")


@cache
def imports(file: Path) -> frozenset[str]:
    """Names of first-party modules that `file` imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(name for name in names if name.split(".")[0] in FIRST_PARTY)


def closure(module: str) -> set[str]:
    """Every source file with content that importing `module` may read, relative to the project."""
    seen: set[Path] = set()
    todo = [module]
    while todo:
        path = ROOT.joinpath(*todo.pop().split("."))
        file = next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)
        if file and file not in seen:
            seen.add(file)
            todo += imports(file)
    return {str(file.relative_to(ROOT)) for file in seen if file.read_text().strip()}


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
        body["deps"] = sorted(code_of(module, [dep for dep in kept if "${item.network}" in dep])) + kept
    yaml.dump(text, path)


def code_of(module: str, of_network: Sequence[str]) -> set[str]:
    """The source files of a stage. `of_network` are those that only the stage of one network has, written with
    `${item.network}`; of all networks what they import besides belongs to the stage."""
    own = {name.replace("${item.network}", network) for name in of_network for network in network_names()}
    files = closure(module)
    for file in own:
        files |= closure(file.removesuffix(".py").replace("/", "."))
    return files - own


def _is_package(dep: str) -> bool:
    return dep.split("/")[0] in FIRST_PARTY and (ROOT / dep).is_dir()


if __name__ == "__main__":
    main()
