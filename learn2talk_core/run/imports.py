"""Which source files a module imports, directly or not. No code is run: imports are read from the syntax tree."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_PARTY = ("stages", "learn2talk_core", "learn2talk")
DATA = {".json", ".npz", ".safetensors"}


@cache
def imports(file: Path) -> frozenset[str]:
    """Names of first-party modules that `file` imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(name for name in names if name.split(".")[0] in FIRST_PARTY)


def closure(module: str) -> set[str]:
    """Every non-empty source file that importing `module` may read, relative to the project."""
    seen: set[Path] = set()
    todo = [module]
    while todo:
        path = ROOT.joinpath(*todo.pop().split("."))
        file = next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)
        if file and file not in seen:
            seen.add(file)
            todo += imports(file)
    return {str(file.relative_to(ROOT)) for file in seen if file.read_text().strip()}


def data_beside(sources: Iterable[str]) -> set[str]:
    """Data files in those folders `learn2talk_core/ROOM` that contain at least one of `sources`."""
    rooms = {Path(*Path(source).parts[:2]) for source in sources if source.startswith("learn2talk_core/")}
    files = (file for room in rooms for file in (ROOT / room).rglob("*") if file.suffix in DATA)
    return {str(file.relative_to(ROOT)) for file in files}
