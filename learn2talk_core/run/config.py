"""Strict reading of params.yaml into one frozen dataclass per stage."""

import dataclasses
import reprlib
import types
import typing
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from learn2talk_core.run.errors import BadInput

DEEPEST = 1000  # levels of nested brackets
T = TypeVar("T")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read YAML 1.2 as DVC itself does: `1e-7` is a number, `on` is a string, and a duplicate key is an error."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        if max(accumulate((c in "[{") - (c in "]}") for c in text), default=0) > DEEPEST:
            raise RecursionError  # early: the parser would need seconds to fail
        value = YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise BadInput(
            path, expected="a parameter file", found="nothing", fix="Run from the root of the project."
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(path, expected="text in UTF-8", found=str(error), fix="Save it in UTF-8.") from error
    except RecursionError:
        found = "hundreds of nested brackets or indents"
        raise BadInput(path, expected="a few groups of keys", found=found, fix="Restore it from Git.") from None
    except (YAMLError, ValueError, LookupError) as error:  # such as an impossible date, or `!!bool perhaps`
        raise BadInput(path, expected="YAML 1.2", found=str(error), fix="Correct that line.") from error
    if not isinstance(value, dict):
        raise BadInput(path, expected="keys and values", found=type(value).__name__, fix="Restore it from Git.")
    return value


def load_params(params: type[T], group: str, path: str | Path = "params.yaml") -> T:
    """Fill the dataclass `params` from `path`.

    Fields are looked up in the group named `group`, those marked `shared()` at the top level. A field whose type is
    a dataclass is a nested group. Missing keys, unknown keys in the group and values of the wrong type are refused. An
    int is accepted for a float; nothing else is converted.

    Args:
        params: a frozen dataclass.
        group: the stage's group in the file, for example "student".
        path: the parameter file.
    """
    path = Path(path)
    values = read_yaml(path)
    top = {f.name for f in dataclasses.fields(params) if f.metadata.get("shared")}  # type: ignore[arg-type]
    inner = values.get(group, {})
    if not isinstance(inner, dict):
        raise BadInput(
            f"{path}: {group}", expected="a group of keys", found=_shown(inner), fix="See the comments in that file."
        )
    found = {**inner, **{name: values[name] for name in top if name in values}}
    return _fill(params, found, group, top, path)


def shared() -> Any:
    """Mark a field of a stage's Params as a top-level key of params.yaml."""
    return dataclasses.field(metadata={"shared": True})


def _fill(params: type[T], values: dict[str, Any], group: str, top: set[str], path: Path) -> T:
    hints = typing.get_type_hints(params)
    fields = [f.name for f in dataclasses.fields(params)]  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise BadInput(
                path, expected=f"one of {sorted(set(fields) - top)} in {group}", found=_shown(key), fix="Correct it."
            )
    filled = {}
    for name in fields:
        key = name if name in top else f"{group}.{name}"
        if name not in values:
            raise BadInput(path, expected=f"{key}", found="no such key", fix="Add it; see the comments in the file.")
        filled[name] = _checked(hints[name], values[name], key, path)
    return params(**filled)


def _checked(hint: Any, value: Any, key: str, path: Path) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise _wrong_type(path, key, "a group of keys", value)
        return _fill(hint, value, key, set(), path)  # type: ignore[arg-type]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[0], bool):
            raise _wrong_type(path, key, "one of " + ", ".join(map(str, arguments)), value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong_type(path, key, "a list", value)
        return tuple(_checked(arguments[0], item, f"{key}[{i}]", path) for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong_type(path, key, "a group of keys", value)
        return {str(name): _checked(arguments[1], item, f"{key}.{name}", path) for name, item in value.items()}
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _checked(next(a for a in arguments if a is not type(None)), value, key, path)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _wrong_type(path, key, hint.__name__, value)
    return value


def _wrong_type(path: Path, key: str, expected: str, value: Any) -> BadInput:
    return BadInput(f"{path}: {key}", expected=expected, found=_shown(value), fix="Correct the value.")


def _shown(value: Any) -> str:
    """The value's `repr`, shortened: a few lines of YAML can expand to gigabytes."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    return short.repr(value)
