"""Every command that takes a student takes a student of every network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk.cli import main
from learn2talk.viewer.sources import find_viewer_clips
from learn2talk_core.animation.loading import load_animator
from learn2talk_core.audio.waveform import write_wave
from learn2talk_core.checkpoints.exchange import export_checkpoint
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.evaluation.predict import Studio, predict_clip, write_motions
from learn2talk_core.export.animate_files import animate_files
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.networks import network_names
from learn2talk_core.run.weights import halve_files
from tests.animation.test_animator import speech
from tests.toy import toy_corpus
from tests.toy_networks import toy_network

STREAMS = ("faceformer", "voca")
NETWORKS = network_names()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("every") / "data" / "corpus")


def saved(network: str, corpus: Corpus) -> Path:
    """The folder of the network's toy student, written once."""
    folder = corpus.folder.parent / "models" / "students" / network
    if not folder.is_dir():
        student = toy_network(network, corpus)
        save_student(folder, student, fps=corpus.fps, speakers=corpus.train_speakers, recipe=corpus.recipe)
    return folder


@pytest.mark.parametrize("network", NETWORKS)
def test_animate_and_stream(network: str, corpus: Corpus) -> None:
    animator, wave = load_animator(saved(network, corpus), corpus=corpus.folder), speech(1.3)
    face = animator.animate(wave, style="B")
    with torch.no_grad():
        states = animator.student.predict_states(wave, 30, torch.tensor([[0.0, 1.0]]), 39, corpus.templates["B"])
        moved = animator.student.displacement(states)[0].numpy()
    assert np.linalg.norm(face.vertices() - corpus.templates["B"] - moved) < 1e-3 * np.linalg.norm(moved)
    assert float(np.abs(moved).max()) > 1e-6
    assert animator.student.can_stream == (network in STREAMS)
    if network in STREAMS:
        stream = animator.stream(style="B", chunk=0.5, look_ahead=0.5)
        frames = np.concatenate([stream.feed(wave), stream.finish()])
        assert frames.shape == (39, 64, 3)
        assert np.isfinite(frames).all()
    else:
        reason = "has no affine last layer" if network == "meshtalk" else "needs the whole clip at once"
        with pytest.raises(BadInput, match=rf"a stream of {network}.*{reason}.*learn2talk animate"):
            animator.stream(style="B")


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in STREAMS])
def test_live_says_so(network: str, corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--model", str(saved(network, corpus)), "--corpus", str(corpus.folder)]) == 1
    said = capsys.readouterr().err
    assert f"a stream of {network}: expected a student that can animate speech while it arrives" in said
    assert "Use learn2talk animate, or another model." in said


@pytest.mark.parametrize("network", NETWORKS)
def test_predict_and_view(network: str, corpus: Corpus) -> None:
    student, speakers = load_student(saved(network, corpus), made_by="the test", recipe="toy")
    studio, clips = Studio(corpus, student, speakers), corpus.split("test_seen", "test_unseen")
    folder = corpus.folder.parent / "predicted" / network
    write_motions(folder, studio, clips, (predict_clip(studio, clip) for clip in clips))
    found = open_predictions(folder, corpus)
    assert tuple(found.styles("A100")) == ("A",)
    assert tuple(found.styles("D102")) == (("A", "B") if student.has_styles else ("A",))
    assert np.isfinite(found.vertices("D102", "A")).all()
    shown = {clip.title.split()[0]: clip for clip in find_viewer_clips([corpus.folder.parent])}
    motion = next(motion for motion in shown["D102"].motions if motion.name.lower() == network)
    np.testing.assert_allclose(motion.vertices(), found.vertices("D102", "A"), atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_files_halves_and_export(network: str, corpus: Corpus, tmp_path: Path) -> None:
    folder = saved(network, corpus)
    write_wave(tmp_path / "a.wav", speech(0.6))
    words = {"formats": ["npy", "glb-exact"], "style": "A", "model": folder, "corpus": corpus.folder}
    (made,) = animate_files([str(tmp_path / "a.wav")], tmp_path / "out", **words)
    assert np.load(next(made.folder.glob("*.npy"))).shape[:2] == (18, 64)
    assert next(made.folder.glob("*.glb")).stat().st_size > 1000
    assert isinstance(export_checkpoint(folder, network, tmp_path / "published"), list)  # type: ignore[arg-type]
    assert (tmp_path / "published").exists()
    halve_files(folder)
    student, _ = load_student(folder, made_by="the test")
    assert all(bool(p.isfinite().all()) for p in student.parameters())
