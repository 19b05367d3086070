"""Training of CodeTalker's two stages on the toy corpus."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.codetalker.codec import MotionCodec
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import ExtraTerm
from learn2talk_core.training.students.codetalker import (
    CodecRecipe,
    CodeTalkerRecipe,
    codec_loss,
    dropped_frames,
    load_motion_prior,
    save_motion_prior,
    train_motion_prior,
    train_network,
)
from tests.toy import toy_corpus
from tests.training.test_student import encoder, extra_terms

PRIOR = CodecRecipe(
    width=16, layers=1, heads=2, hidden=32, codes=2, code_width=8, entries=16, start="features",
    code_weight=1.0, commitment=0.25, steps=60, batch=4, learning_rate=5e-3,
)  # fmt: skip
RECIPE = CodeTalkerRecipe(
    prior=PRIOR, width=16, layers=1, heads=4, dropout=0.0, past_dropout=0.0, feature_weight=1.0, vertex_stride=1,
    steps=40, batch=3, learning_rate=5e-3, encoder_learning_rate=1e-3,
)  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


def prior(corpus: Corpus, folder: Path, recipe: CodecRecipe = PRIOR) -> tuple[MotionCodec, list[dict[str, float]]]:
    with Scratch(folder) as scratch:
        return train_motion_prior(
            corpus, encoder(), corpus.split("train"), recipe, seed=0, scratch=scratch, description="toy"
        )


def test_past_dropout_hides_whole_frames() -> None:
    truth = torch.rand(3, 200, 6) + 1
    assert dropped_frames(truth, 0.0) is truth
    torch.manual_seed(0)
    shown = dropped_frames(truth, 0.8)
    kept = (shown != 0).all(-1)
    assert torch.equal(shown, truth * kept[..., None])
    assert 0.15 < float(kept.float().mean()) < 0.25
    assert not dropped_frames(truth, 1.0).any()


def fit(
    corpus: Corpus, folder: Path, codec: MotionCodec, recipe: CodeTalkerRecipe = RECIPE,
    extra: list[tuple[str, float, ExtraTerm]] | None = None,
) -> tuple[CodeTalker, list[dict[str, float]]]:  # fmt: skip
    with Scratch(folder) as scratch:
        return train_network(
            corpus, encoder(), corpus.split("train"), recipe,
            prior=codec, seed=0, scratch=scratch, description="toy", extra=extra or [],
        )  # fmt: skip


def test_both_stages_learn_the_toy(corpus: Corpus, tmp_path: Path) -> None:
    codec, history = prior(corpus, tmp_path / "a")
    motion = [row["motion"] for row in history]
    assert sum(motion[-5:]) < 0.7 * sum(motion[:5])
    assert history[-1]["perplexity"] > 2
    save_motion_prior(tmp_path / "prior", codec, corpus)
    again = load_motion_prior(tmp_path / "prior", corpus)
    clip = corpus.split("test_seen")[0]
    truth = torch.from_numpy(corpus.displacement(clip, slice(None)).reshape(1, clip.frames, -1).astype(np.float32))
    with torch.no_grad():
        shown = torch.nn.functional.linear(again.decode(again.encode(truth).quantised), *again.affine_map())
    assert (shown - truth).square().mean() < 0.6 * truth.square().mean()  # in the corpus's unit

    model, history = fit(corpus, tmp_path / "b", again)
    assert set(history[0]) == {"step", "loss", "vertex", "features"}
    for name in ("vertex", "features"):
        values = [row[name] for row in history]
        assert sum(values[-5:]) < 0.9 * sum(values[:5]), name
    for key, value in codec.state_dict().items():
        torch.testing.assert_close(model.autoencoder.state_dict()[key], value)  # stage 2 does not touch the codec
    save_student(tmp_path / "m", model, fps=corpus.fps, speakers=corpus.train_speakers, recipe="toy")
    loaded, speakers = load_student(tmp_path / "m", made_by="the test")
    assert speakers == ("A", "B")
    states = loaded.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2), clip.frames)
    assert states.shape == (2, clip.frames, 16)
    torch.testing.assert_close(
        states, model.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2), clip.frames), atol=0, rtol=0
    )
    audio = model.audio_encoder.listen(corpus.audio(clip), clip.frames, corpus.fps)[None]
    quick = model.codes(audio, torch.eye(2)[:1])
    model.growth = 1.0
    assert (quick == model.codes(audio, torch.eye(2)[:1])).float().mean() > 0.8  # the shortcut changes few codes
    moved = loaded.displacement(states)[0].flatten(1)
    assert 0.1 < float(moved.square().mean() / truth.square().mean()) < 10
    assert (moved - truth[0]).square().mean() < truth.square().mean()


def test_learn2talks_losses_pass_the_quantisation(corpus: Corpus, tmp_path: Path) -> None:
    short = dataclasses.replace(RECIPE, steps=4)
    codec, _ = prior(corpus, tmp_path / "a", dataclasses.replace(PRIOR, steps=3))
    save_motion_prior(tmp_path / "prior", codec, corpus)
    plain, _ = fit(corpus, tmp_path / "b", load_motion_prior(tmp_path / "prior", corpus), short)
    taught, history = fit(
        corpus, tmp_path / "c", load_motion_prior(tmp_path / "prior", corpus), short, extra_terms(corpus, 0.5)
    )
    assert set(history[0]) == {"step", "loss", "vertex", "features", "sync", "lipread"}
    assert all(np.isfinite(list(row.values())).all() for row in history)
    assert not torch.equal(plain.feat_map.weight, taught.feat_map.weight)


def test_the_codecs_loss_on_a_padded_batch(corpus: Corpus, tmp_path: Path) -> None:
    """The mean over all frames: clips of different lengths count by their frames."""
    codec, _ = prior(corpus, tmp_path / "a", dataclasses.replace(PRIOR, steps=3))
    clips = corpus.split("train")[:3]
    with torch.no_grad():
        _, together = codec_loss(codec, corpus, clips, 1.0, 1.0, 0.25)
        alone = [codec_loss(codec, corpus, [clip], 1.0, 1.0, 0.25)[1] for clip in clips]
    frames = [clip.frames for clip in clips]
    assert len(set(frames)) == 3
    for name in ("motion", "codebook", "loss"):
        assert together[name] == pytest.approx(np.average([row[name] for row in alone], weights=frames), rel=1e-4)


def test_a_codec_for_another_corpus_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    codec, _ = prior(corpus, tmp_path / "a", dataclasses.replace(PRIOR, steps=1))
    save_motion_prior(tmp_path / "prior", codec, corpus)
    other = dataclasses.replace(corpus, recipe="biwi-metric")
    with pytest.raises(BadInput, match=r"expected one made for the recipe biwi-metric .* found one for toy"):
        load_motion_prior(tmp_path / "prior", other)
