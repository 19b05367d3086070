"""Training of SelfTalk on the toy corpus, and of its parts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.phoneme_head import PhonemeHead, load_recogniser, save_phoneme_head
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.selftalk.recogniser import TextRecogniser, open_recogniser
from learn2talk_core.models.students.student import save_student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import frozen
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import ExtraTerm
from learn2talk_core.training.students.selftalk import (
    SelfTalkRecipe,
    consistency_losses,
    heard_texts,
    own_groups,
    start_interpreter,
    train_network,
)
from tests.toy import toy_corpus
from tests.training.test_student import encoder, extra_terms

RECIPE = SelfTalkRecipe(
    width=16, lip_heads=2, lip_layers=1, lip_hidden=32, dropout=0.0, start="pca",
    reconstruction_weight=1000.0, velocity_weight=1000.0, latent_weight=1e-3, text_weight=1e-4, vertex_stride=1,
    steps=30, batch=3, learning_rate=5e-3, interpreter_learning_rate=5e-3, encoder_learning_rate=1e-3,
)  # fmt: skip
UNITS = ("<pad>", "|", "a", "b", "c")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


def recogniser() -> TextRecogniser:
    seed_torch(4)
    network = TextRecogniser(encoder(), UNITS)
    torch.nn.init.normal_(network.lm_head.weight, std=1.0)
    frozen(network)
    return network


def fit(
    corpus: Corpus,
    folder: Path,
    recipe: SelfTalkRecipe = RECIPE,
    extra: list[tuple[str, float, ExtraTerm]] | None = None,
) -> tuple[SelfTalk, list[dict[str, float]]]:
    with Scratch(folder) as scratch:
        return train_network(
            corpus, encoder(), corpus.split("train"), recipe,
            seed=0, scratch=scratch, description="toy", extra=extra or [], prior=recogniser(),
        )  # fmt: skip


def test_all_four_losses_fall(corpus: Corpus, tmp_path: Path) -> None:
    model, history = fit(corpus, tmp_path / "a")
    assert set(history[0]) == {"step", "loss", "vertex", "velocity", "latent", "text"}
    for name in ("loss", "vertex", "latent", "text"):
        values = [row[name] for row in history]
        assert sum(values[-5:]) < 0.9 * sum(values[:5]), name
    row = history[0]
    total = row["vertex"] + row["velocity"] + 1e-6 * row["latent"] + 1e-7 * row["text"]
    assert row["loss"] == pytest.approx(total, rel=1e-5)
    save_student(tmp_path / "m", model, fps=corpus.fps, speakers=corpus.train_speakers)
    again, _ = load_student(tmp_path / "m", made_by="the test")
    assert isinstance(again, SelfTalk)
    clip = corpus.split("test_unseen")[0]
    states = again.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2), clip.frames)
    assert states.shape == (2, clip.frames, 16)
    torch.testing.assert_close(
        states, model.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2), clip.frames), atol=0, rtol=0
    )


def test_the_interpreter_starts_with_the_recognisers_own_map(corpus: Corpus) -> None:
    """Of a recogniser with a linear head W_text is this head, and its features begin near the mean hidden state."""
    listener = recogniser()
    targets = [*heard_texts(corpus, listener, corpus.split("train")).values()]
    seed_torch(0)
    model = SelfTalk(
        9, 2, lip_count=4, units=UNITS, audio_encoder=encoder(), width=16, lip_width=listener.width, lip_heads=2,
        lip_layers=1, lip_hidden=32, dropout=0.0,
    )  # fmt: skip
    start_interpreter(model, targets)
    hidden = torch.cat([target.hidden for target in targets])
    with torch.no_grad():
        text = model.lm_head(hidden)
        features, _ = model.read_lips([torch.randn(30, 4, 3)], [torch.arange(30.0)])
    known = torch.cat([target.logits for target in targets])
    assert float((text - known).square().mean()) < 1e-3 * float(known.var(dim=0).mean())
    assert (features[0] - hidden.mean(0)).square().mean().sqrt() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("optimiser", "slower"), [("scaled", 12**0.5), ("adam", 1.0)])
def test_every_parameter_has_one_learning_rate(corpus: Corpus, optimiser: str, slower: float) -> None:
    model = SelfTalk(
        9, 2, lip_count=4, units=UNITS, audio_encoder=encoder(), width=16, lip_width=16, lip_heads=2, lip_layers=1,
        lip_hidden=32,
    )  # fmt: skip
    rates = {"learning_rate": 3.0, "interpreter_learning_rate": 2.0}
    recipe = dataclasses.replace(RECIPE, **rates, optimiser=optimiser)  # type: ignore[arg-type]
    peaks = {id(p): group["peak"] for group in own_groups(model, recipe) for p in group["params"]}
    assert len(peaks) == sum(len(group["params"]) for group in own_groups(model, recipe))
    for name, parameter in model.named_parameters():
        reading = name.startswith(("lip_map", "transformer.", "lm_head"))
        expected = None if name.startswith("audio_encoder") else 2.0 if reading else 3.0
        assert peaks.get(id(parameter)) == (2.0 / slower if name == "lip_map.weight" else expected), name


def test_without_a_reconstruction_loss(corpus: Corpus, tmp_path: Path) -> None:
    _, history = fit(corpus, tmp_path / "a", dataclasses.replace(RECIPE, reconstruction_weight=0.0, steps=2))
    assert history[1]["loss"] == pytest.approx(
        history[1]["velocity"] + 1e-6 * history[1]["latent"] + 1e-7 * history[1]["text"], rel=1e-5
    )


def test_without_the_diagram_only_the_animator_is_trained(corpus: Corpus, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, latent_weight=0.0, text_weight=0.0, velocity_weight=0.0, steps=3)
    _, history = fit(corpus, tmp_path / "a", recipe)
    assert set(history[0]) == {"step", "loss", "vertex"}


@pytest.mark.parametrize(("alignment", "rate"), [("vocaset", 1), ("biwi", 2)])
def test_the_alignment_of_its_own_code(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alignment: str, rate: int
) -> None:
    """Speech features stretched to the frames of a clip, or two for each frame and no frames beyond them; and the
    recogniser's times stretched to these frames; here by NumPy."""
    quiet = {f"{part}_dropout": 0.0 for part in ("hidden", "attention", "activation", "feat_proj")}
    speech, seen = encoder(**quiet), []

    def spy(model: SelfTalk, states: torch.Tensor, chosen: list, targets: list) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((states.detach(), chosen, targets))
        return consistency_losses(model, states, chosen, targets)

    monkeypatch.setattr("learn2talk_core.training.students.selftalk.consistency_losses", spy)
    recipe = dataclasses.replace(
        RECIPE,
        alignment=alignment,
        steps=1,
        batch=2,
        learning_rate=0.0,
        interpreter_learning_rate=0.0,
        encoder_learning_rate=0.0,
    )
    whole = {clip.id: clip for clip in corpus.split("train")}
    with Scratch(tmp_path / "a") as scratch:
        model, _ = train_network(
            corpus, speech, [*whole.values()], recipe, seed=0, scratch=scratch, description="toy",
            prior=recogniser(),
        )  # fmt: skip
    ((states, chosen, targets),) = seen
    for row, clip, target in zip(states, chosen, targets, strict=True):
        features = speech.frozen_features(corpus.audio(clip)).numpy()
        count = min(whole[clip.id].frames, len(features) // 2) if rate == 2 else whole[clip.id].frames
        assert clip.frames == count
        at = np.arange(2 * count) if rate == 2 else np.linspace(0, len(features) - 1, count)
        drawn = np.stack([np.interp(at, np.arange(len(features)), channel) for channel in features.T], axis=1)
        with torch.no_grad():
            known = model.states(speech.encode(torch.from_numpy(drawn).float()[None]))[0]
        torch.testing.assert_close(row[:count], known, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(target.positions, np.linspace(0, count - 1, len(target.hidden)))
    assert model.alignment == alignment
    first = whole[chosen[0].id]
    expected = first.frames - 1 if rate == 1 else (len(speech.frozen_features(corpus.audio(first))) // 2)
    assert model.predict_states(corpus.audio(first), corpus.fps, torch.eye(2), first.frames).shape[1] == expected


def test_learn2talks_losses_can_be_added(corpus: Corpus, tmp_path: Path) -> None:
    short = dataclasses.replace(RECIPE, steps=3)
    plain, _ = fit(corpus, tmp_path / "a", short)
    taught, history = fit(corpus, tmp_path / "b", short, extra_terms(corpus, 0.3))
    assert set(history[0]) == {"step", "loss", "vertex", "velocity", "latent", "text", "sync", "lipread"}
    assert not torch.equal(plain.vertice_map_r.weight, taught.vertice_map_r.weight)


def test_lips_are_read_alike_in_any_unit(corpus: Corpus, tmp_path: Path) -> None:
    model, _ = fit(corpus, tmp_path / "a", dataclasses.replace(RECIPE, steps=3))
    clip = corpus.split("train")[0]
    states = model.predict_states(corpus.audio(clip), corpus.fps, torch.eye(2)[:1], clip.frames)
    with torch.no_grad():
        before = model.interpret(model.displacement(states)[0].numpy(), corpus.fps)
        model.scale_motion(1000.0)  # metres to millimetres
        after = model.interpret(model.displacement(states)[0].numpy(), corpus.fps)
    assert before[0].shape == (int(clip.frames / 30 * 50), 16)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_padded_batch_equals_single_clips(corpus: Corpus) -> None:
    clips = corpus.split("train")[:3]
    heard = heard_texts(corpus, recogniser(), clips)
    targets = [heard[clip.id] for clip in clips]
    seed_torch(0)
    model = SelfTalk(64, 2, lip_count=16, units=UNITS, audio_encoder=encoder(), width=16, dropout=0.0, lip_width=16,
                     lip_heads=2, lip_layers=2, lip_hidden=32).eval()  # fmt: skip
    torch.nn.init.normal_(model.vertice_map_r.weight)
    model.lips.copy_(torch.from_numpy(corpus.topology.regions["lips"]))
    lengths = [clip.frames for clip in clips]
    audio = torch.randn(3, max(lengths), 16)
    with torch.no_grad():
        states = model.states(audio, lengths)
        latent, text = consistency_losses(model, states, clips, targets)
        alone = []
        for row, clip in enumerate(clips):
            one = model.states(audio[row : row + 1, : clip.frames])
            torch.testing.assert_close(states[row : row + 1, : clip.frames], one, atol=1e-5, rtol=1e-4)
            alone.append([float(loss) for loss in consistency_losses(model, one, [clip], [targets[row]])])
    frames = np.array([len(target.hidden) for target in targets])
    assert float(text) == pytest.approx(np.mean([t for _, t in alone]), rel=1e-4)
    assert float(latent) == pytest.approx(np.average([n for n, _ in alone], weights=frames), rel=1e-4)


def test_gradients_reach_the_animator_through_the_text(corpus: Corpus) -> None:
    """Against finite differences along the gradient with respect to the states."""
    clips = corpus.split("train")[:2]
    heard = heard_texts(corpus, recogniser(), clips)
    assert all(len(target.text) for target in heard.values())
    seed_torch(0)
    model = SelfTalk(64, 2, lip_count=16, units=UNITS, audio_encoder=encoder(), width=16, dropout=0.0, lip_width=16,
                     lip_heads=2, lip_layers=1, lip_hidden=32).double().eval()  # fmt: skip
    torch.nn.init.normal_(model.vertice_map_r.weight)
    model.lips.copy_(torch.from_numpy(corpus.topology.regions["lips"]))
    targets = [heard[clip.id]._replace(hidden=heard[clip.id].hidden.double()) for clip in clips]
    h = torch.randn(2, max(clip.frames for clip in clips), 16, dtype=torch.float64, requires_grad=True)
    for place in (0, 1):
        (gradient,) = torch.autograd.grad(consistency_losses(model, h, clips, targets)[place], h)
        assert gradient.isfinite().all()
        direction, step = gradient / gradient.norm(), 1e-5
        up, down = (consistency_losses(model, h.detach() + s * direction, clips, targets)[place] for s in (step, -step))
        assert ((up - down) / (2 * step)).item() == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_a_phoneme_head_is_a_recogniser(corpus: Corpus, tmp_path: Path) -> None:
    speech = encoder()
    seed_torch(2)
    head = PhonemeHead(16, ("P", "AA"), width=8)
    torch.nn.init.normal_(head.ctc.weight, std=3.0)
    save_phoneme_head(tmp_path / "head", head, speech)
    listener = open_recogniser(tmp_path / "head", speech)
    assert (listener.units, listener.width) == (("<pad>", "P", "AA"), 16)
    clip = corpus.split("train")[0]
    heard = listener.hear(corpus.audio(clip))
    assert heard.hidden.shape == (50, 16)  # 1 s at 50 Hz
    np.testing.assert_allclose(heard.times, np.arange(50) / 50)
    posteriors, _ = load_recogniser(speech, tmp_path / "head", made_by="the test").posteriors(corpus.audio(clip))
    np.testing.assert_allclose(heard.logits.log_softmax(-1), posteriors, atol=1e-5)
    recipe = dataclasses.replace(RECIPE, steps=2)
    with Scratch(tmp_path / "scratch") as scratch:
        model, history = train_network(
            corpus, speech, corpus.split("train"), recipe, seed=0, scratch=scratch, description="toy",
            prior=str(tmp_path / "head"),
        )  # fmt: skip
    assert model.units == ("<pad>", "P", "AA")
    assert np.isfinite([row["text"] for row in history]).all()


def test_a_share_of_no_gradient_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    """Without a vertex loss, `balance: gradient` would silently switch Learn2Talk's losses off."""
    recipe = dataclasses.replace(RECIPE, reconstruction_weight=0.0)
    fit(corpus, tmp_path / "own", dataclasses.replace(recipe, steps=1))
    with pytest.raises(BadInput, match=r"the weight of the vertex loss: expected more than 0: .*, found 0\. Give it"):
        fit(corpus, tmp_path / "taught", recipe, [("sync", 0.1, lambda model, h, clips, **_: h.square().mean())])
