import subprocess
import sys
from pathlib import Path

import pytest

import learn2talk
from learn2talk_core.animation.animator import Animator
from tests.animation.test_animator import speech
from tests.toy_student import toy_animator

NAMES = ["BadInput", "Life", "animate", "export", "load", "score", "stream"]


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    return toy_animator(tmp_path_factory.mktemp("toy"))


def test_import_loads_nothing_and_lists_everything() -> None:
    program = (
        "import sys, learn2talk\n"
        "assert not {'numpy', 'torch', 'learn2talk_core'} & set(sys.modules), 'heavy'\n"
        f"assert set({NAMES}) <= set(dir(learn2talk)), dir(learn2talk)\n"
        "assert not {'numpy', 'torch'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert sorted(learn2talk.__all__) == NAMES
    assert all(callable(getattr(learn2talk, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="module 'learn2talk' has no attribute 'nothing'"):
        _ = learn2talk.nothing


def test_what_was_written_is_told(animator: Animator, tmp_path: Path) -> None:
    animation = learn2talk.animate(speech(0.5), animator, style="A")
    assert learn2talk.export(animation, tmp_path / "out", ["npy", "glb-exact"], name="a") == [
        tmp_path / "out" / name for name in ("a.npy", "a.glb", "a.wav")
    ]
    (tmp_path / "out" / "mine.txt").write_text("mine")
    learn2talk.export(animation, tmp_path / "out", ["npy"], name="a")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    with pytest.raises(learn2talk.BadInput, match=r"formats: expected some of mp4, npy, .* found dae"):
        learn2talk.export(animation, tmp_path / "out", ["dae"])


def test_a_score_needs_one_sound(animator: Animator) -> None:
    with pytest.raises(learn2talk.BadInput, match="score: expected a sound for a motion file, found none"):
        learn2talk.score("motion.npz")
    with pytest.raises(learn2talk.BadInput, match=r"expected an animation without .*, found a sound, fps\. Leave"):
        learn2talk.score(learn2talk.animate(speech(0.5), animator, style="A"), "speech.wav", fps=25)


def test_without_an_animator_the_last_run_speaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("learn2talk_core.run.find_model.PACKAGED_STUDENTS", tmp_path / "none")
    for use in (lambda: learn2talk.animate(speech(0.5)), learn2talk.stream, learn2talk.load):
        with pytest.raises(learn2talk.BadInput, match=r"students/learn2talk/model\.json: expected a file, found"):
            use()
