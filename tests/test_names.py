"""Public classes and functions have one name each, so that a search for a name finds one definition."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "main": "the entry point of a program",
    "add": "what each command of learn2talk/commands offers",
    "run": "what each command does, and how a stage runs",
    "render": "the same function by another renderer, which render/render.py chooses",
}


def definitions() -> dict[str, list[str]]:
    """Name → the modules that define a public class or function of that name at top level."""
    found = defaultdict(list)
    for package in ("learn2talk", "learn2talk_core"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                    found[node.name].append(str(file.relative_to(ROOT)))
    return found


def test_a_public_name_is_defined_once() -> None:
    found = definitions()
    assert len(found) > 500
    twice = {name: files for name, files in found.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) <= set(twice), "no longer needed"
