from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from learn2talk_core.run.config import load_params, read_yaml, shared
from learn2talk_core.run.errors import BadInput


@dataclass(frozen=True)
class Inner:
    margin: float


@dataclass(frozen=True)
class Params:
    seed: int = shared()
    lambda1: float = shared()
    steps: int
    rate: float
    form: Literal["mean", "sum"]
    checkpoint: str | None
    sizes: tuple[int, ...]
    metric: Inner


GOOD = """
seed: 3
lambda1: 1e-7
student:
  steps: 10
  rate: 1
  form: mean
  checkpoint: null
  sizes:
  - 3
  - 4
  metric:
    margin: 0.5
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_reads_nested_shared_and_yaml_1_2_numbers(tmp_path: Path) -> None:
    params = load_params(Params, "student", write(tmp_path, GOOD))
    assert params == Params(3, 1e-7, 10, 1.0, "mean", None, (3, 4), Inner(0.5))
    assert type(params.rate) is float


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lambda1: 1e-7", "lambda1: abc", r"params.yaml: lambda1: expected float, found 'abc'"),
        ("steps: 10", "steps: 10.5", r"student.steps: expected int, found 10.5"),
        ("steps: 10", "steps: true", r"student.steps: expected int, found True"),
        ("steps: 10", "stepps: 10", r"expected one of .*'steps'.* in student, found 'stepps'"),
        ("  steps: 10\n", "", r"expected student.steps, found no such key"),
        ("seed: 3\n", "", r"expected seed, found no such key"),
        ("form: mean", "form: median", r"student.form: expected one of mean, sum, found 'median'"),
        ("  - 4", "  - on", r"student.sizes\[1\]: expected int, found 'on'"),
        ("margin: 0.5", "margin: null", r"student.metric.margin: expected float, found None"),
        ("margin: 0.5", "margins: 0.5", r"found 'margins'"),
        ("student:", "student: [", r"expected YAML 1.2"),
        ("steps: 10", "steps: 10\n  steps: 11", r"expected YAML 1.2"),
    ],
)
def test_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_params(Params, "student", write(tmp_path, GOOD.replace(old, new)))


def test_missing_file_and_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a parameter file, found nothing"):
        read_yaml(tmp_path / "params.yaml")
    with pytest.raises(BadInput, match="expected keys and values, found list"):
        read_yaml(write(tmp_path, "- 1"))
    with pytest.raises(BadInput, match="student: expected a group of keys, found 3"):
        load_params(Params, "student", write(tmp_path, "seed: 1\nlambda1: 0.0\nstudent: 3"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("seed: \xe9".encode("latin-1"), "expected text in UTF-8, found 'utf-8' codec can't decode byte 0xe9"),
        (100_000 * b"[", "expected a few groups of keys, found hundreds of nested brackets or indents"),
        ("".join(f"{' ' * i}a:\n" for i in range(500)).encode(), "expected a few groups of keys, found hundreds of"),
        (b"a: 2024-13-45", "expected YAML 1.2, found month must be in 1..12"),
        (b"a: !!bool perhaps", "expected YAML 1.2, found 'perhaps'"),
        (b"a: " + 5000 * b"9", "expected YAML 1.2, found Exceeds the limit"),
    ],
)
def test_files_that_no_editor_makes_are_refused_in_one_line(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(BadInput, match=f"params.yaml: {text}"):
        read_yaml(tmp_path / "params.yaml")


def test_values_that_unfold_to_gigabytes_are_shown_cut(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join(10 * [f'*a{i - 1}'])}]" for i in range(1, 12)]
    (tmp_path / "params.yaml").write_text("\n".join([*lines, "stage: *a11"]))
    with pytest.raises(BadInput, match=r"stage: expected a group of keys, found \[\[\[\.\.\.\]"):
        load_params(Params, "stage", tmp_path / "params.yaml")
