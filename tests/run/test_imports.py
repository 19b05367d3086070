from pathlib import Path

import pytest

from learn2talk_core.run import imports
from learn2talk_core.run.imports import closure, data_beside

FILES = {
    "stages/toy.py": "import torch\nfrom learn2talk_core.corpus import clips\n"
    "def f():\n    import learn2talk_core.run.a\n",
    "learn2talk_core/corpus/__init__.py": "",
    "learn2talk_core/corpus/clips.py": "from learn2talk_core.run.b import x",
    "learn2talk_core/corpus/unused.py": "import stages.toy",
    "learn2talk_core/corpus/data/mean.npz": "numbers",
    "learn2talk_core/corpus/README.md": "words",
    "learn2talk_core/mesh/face.npz": "numbers",
    "learn2talk_core/run/a.py": "import learn2talk_core.run.b",
    "learn2talk_core/run/b.py": "x = 1",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(imports, "ROOT", tmp_path)
    return tmp_path


def test_imports_are_followed_into_functions_and_through_files(project: Path) -> None:
    used = {"stages/toy.py", "learn2talk_core/corpus/clips.py", "learn2talk_core/run/a.py", "learn2talk_core/run/b.py"}
    assert closure("stages.toy") == used
    assert closure("learn2talk_core.run.a") == {"learn2talk_core/run/a.py", "learn2talk_core/run/b.py"}
    assert closure("learn2talk_core.nothing") == set()


def test_data_files_of_the_rooms_in_use(project: Path) -> None:
    assert data_beside(closure("stages.toy")) == {"learn2talk_core/corpus/data/mean.npz"}
    assert data_beside(["learn2talk_core/mesh/area.py", "stages/toy.py"]) == {"learn2talk_core/mesh/face.npz"}


def test_relative_imports_are_refused(project: Path) -> None:
    (project / "stages" / "toy.py").write_text("from . import other")
    with pytest.raises(AssertionError, match=r"toy\.py: relative import"):
        closure("stages.toy")
