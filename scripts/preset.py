"""Set params.yaml as a paper does.

    python -m scripts.preset params/vocaset-paper.yaml corpus.source.path=FOLDER teacher_video.videos=FOLDER
    dvc repro

Each argument is a file with values for params.yaml, or one KEY=VALUE; later ones win. Comments stay. Nothing is written
if a key does not exist.
"""

import argparse
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from learn2talk_core.run.config import read_yaml
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.program import run_program

# named entries: a preset replaces all of them
LISTS = ("students", "taught_students", "networks", "avatars", "avatar_reports")


def changes_of(argument: str) -> dict[str, Any]:
    """The values of a preset file, or of `KEY=VALUE` with dots between groups, as nested groups."""
    key, equals, value = argument.partition("=")
    if not equals:
        return read_yaml(argument)
    changes: Any = YAML(typ="safe", pure=True).load(value)
    for part in reversed(key.split(".")):
        changes = {part: changes}
    return changes


def merge(values: dict[str, Any], changes: dict[str, Any], where: str, group: str = "") -> list[str]:
    """Set `changes` in `values`, in place; returns one line for each value that changed.

    Raises:
        BadInput: a key that `values` does not have, or a value where it has a group.
    """
    lines = []
    for key, new in changes.items():
        name = f"{group}{key}"
        if key not in values:
            raise BadInput(where, expected="keys of params.yaml", found=name, fix="Correct it.")
        old = values[key]
        if isinstance(old, dict) and not isinstance(new, dict):
            raise BadInput(where, expected=f"a group of keys for {name}", found=repr(new), fix="Name a key inside it.")
        if isinstance(old, dict) and name not in LISTS:
            lines += merge(old, new, where, f"{name}.")
        elif old != new:
            values[key] = new
            lines.append(f"{name}: {_shown(old)} → {_shown(new)}")
    return lines


def _shown(value: Any) -> str:
    return ", ".join(value) or "none" if isinstance(value, dict) else "null" if value is None else str(value)


def apply(arguments: list[str], path: str | Path = "params.yaml") -> list[str]:
    """Merge presets and single values into the file at `path`; returns one line for each value that changed."""
    yaml = YAML()
    yaml.width = 1000  # comments and values stay on their lines
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    read_yaml(path)  # refuses a damaged file with a clear message
    values = yaml.load(Path(path).read_text(encoding="utf-8"))
    lines = [line for argument in arguments for line in merge(values, changes_of(argument), argument)]
    text = StringIO()
    yaml.dump(values, text)
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("changes", nargs="+", metavar="FILE|KEY=VALUE", help="such as params/vocaset-paper.yaml")
    words = parser.parse_args()

    def work() -> int:
        print("\n".join(apply(words.changes)))
        print("params.yaml is set; now: dvc repro")
        return 0

    raise SystemExit(run_program("preset", work))


if __name__ == "__main__":
    main()
