"""Public classes, functions and types have one name each, so that a search for a name finds one definition."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("learn2talk", "learn2talk_core", "stages")
ALLOWED = {
    "main": "the entry point of a program or a stage",
    "Params": "the parameters of a stage",
    "add": "what each command of learn2talk/commands offers",
    "run": "what each command does, and how a stage runs",
    "NetworkRecipe": "the recipe of a network, in training/students",
    "train_network": "the training of a network, in training/students",
    "train_motion_prior": "that of its motion prior",
    "save_motion_prior": "likewise",
    "load_motion_prior": "likewise",
    "import_student": "a network's published weights for a corpus, in checkpoints",
    "import_motion_prior": "those of its motion prior",
    "render": "the same function by another renderer, which render/render.py chooses",
}
TYPE = re.compile("[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")  # how types are written; `CONSTANTS` and `T` are not
CONSTANTS = ("MEAN_STYLE", "REFERENCE_ROWS", "REFERENCES", "SAMPLE_RATE", "STUDENTS")  # one meaning each


def assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr | None]]:
    """Name and value of each assignment at top level, also inside `if` and `try`."""
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(part, ast.Name):
                    yield part.id, getattr(node, "value", None)
        if isinstance(node, ast.If | ast.Try):
            yield from assigned([*node.body, *node.orelse])


def is_type_variable(value: ast.expr | None) -> bool:
    """A type variable is used in its own module only."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def names_of(source: str) -> list[str]:
    """The public classes, functions and types that a module defines at top level; type variables are left out."""
    body = ast.parse(source).body
    found = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    found += [name for name, value in assigned(body) if TYPE.fullmatch(name) and not is_type_variable(value)]
    return [name for name in found if not name.startswith("_")]


def sources() -> Iterator[tuple[str, str]]:
    """Path and text of each module."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield str(file.relative_to(ROOT)), file.read_text()


def test_a_public_name_is_defined_once() -> None:
    found = defaultdict(list)
    for file, text in sources():
        for name in names_of(text):
            found[name].append(file)
    assert len(found) > 600
    twice = {name: files for name, files in found.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) <= set(twice), "no longer needed"


def test_names_that_a_module_defines() -> None:
    text = """
Row = dict[str, int]
Role: TypeAlias = Literal["a", "b"]
Film, Key = Clip, tuple[str, str]
T, Network = TypeVar("T"), 3
Item = TypeVar("Item")
SIZE = 3
_Own = int
if TYPE_CHECKING:
    Pair = tuple[int, int]
class Judge:
    Inner = int
def judge(): ...
"""
    assert names_of(text) == ["Judge", "judge", "Row", "Role", "Film", "Key", "Network", "Pair"]


def test_a_constant_of_one_meaning_is_defined_once() -> None:
    found = defaultdict(list)
    texts = []
    for file, text in sources():
        for name, _ in assigned(ast.parse(text).body):
            if name in CONSTANTS:
                found[name].append(file)
        if "_mean_style" in text:
            texts.append(file)
    assert {name: files for name, files in found.items() if len(files) > 1} == {}
    assert texts == ["learn2talk_core/run/students.py"]
