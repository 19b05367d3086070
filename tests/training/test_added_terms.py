"""The lip-distance loss and the phoneme head as terms of any student."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.students.voca.network import VOCA
from learn2talk_core.run.errors import BadInput
from learn2talk_core.training.student import motion_unit, principal_components
from learn2talk_core.training.student_terms import PhonemeTerm, closure_term
from tests.toy import toy_corpus
from tests.training.students.test_voca import RECIPE, fit


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return toy_corpus(tmp_path / "corpus")


def student(corpus: Corpus) -> tuple[VOCA, float]:
    torch.manual_seed(0)
    model = VOCA(64, 2, feature_width=4)
    unit, sample = motion_unit(corpus, corpus.split("train"))
    model.start_from(*principal_components(sample, 50))
    return model, unit


def test_closure_equals_a_loop_over_vertices(corpus: Corpus) -> None:
    model, unit = student(corpus)
    clips = corpus.split("train")[:2]
    h = torch.randn(2, max(clip.frames for clip in clips), 50)
    found = closure_term(corpus, clips, 0.3)(model, h, clips, unit=unit, step=0)
    errors = []
    for row, clip in enumerate(clips):
        moved = unit * model.displacement(h)[row].detach().numpy() + corpus.template(clip.speaker)
        truth = corpus.vertices(clip)
        for t in range(clip.frames):
            for upper, lower in corpus.topology.lip_pairs:
                gap, true = (1000 * (v[t, upper, 1] - v[t, lower, 1]) for v in (moved, truth))
                errors.append(np.exp(-0.3 * abs(true)) * (gap - true) ** 2)
    np.testing.assert_allclose(float(found.detach()), np.mean(errors), rtol=1e-4)


@pytest.mark.parametrize("name", ["closure", "phoneme"])
def test_gradient_by_finite_differences(corpus: Corpus, name: str) -> None:
    model, unit = student(corpus)
    clips = corpus.split("train")[:2]
    term = closure_term(corpus, clips, 0.3) if name == "closure" else PhonemeTerm(corpus, clips, 0)
    h = torch.randn(2, max(clip.frames for clip in clips), 50).requires_grad_()
    (gradient,) = torch.autograd.grad(term(model, h, clips, unit=unit, step=0), h)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        up, down = (term(model, h + s * 0.05 * direction, clips, unit=unit, step=0) for s in (1, -1))
    torch.testing.assert_close((up - down) / 0.1, gradient.norm(), rtol=0.02, atol=0)
    assert not gradient[0, clips[0].frames :].any()


def test_phoneme_head_reads_what_the_mouth_shows(corpus: Corpus) -> None:
    """The loss is the cross-entropy of the labels: log 40 for a head that knows nothing, lower once it is trained."""
    model, unit = student(corpus)
    clips = corpus.split("train")
    term = PhonemeTerm(corpus, clips, 0)
    torch.nn.init.zeros_(term.head.weight)
    torch.nn.init.zeros_(term.head.bias)
    h = torch.randn(4, max(clip.frames for clip in clips), 50)
    blind = term(model, h, clips, unit=unit, step=0)
    np.testing.assert_allclose(float(blind.detach()), np.log(1 + len(PHONEMES)), rtol=1e-5)


def test_both_are_trained_with_a_student(corpus: Corpus, tmp_path: Path) -> None:
    clips, recipe = corpus.split("train"), dataclasses.replace(RECIPE, steps=20)
    torch.manual_seed(0)
    head = PhonemeTerm(corpus, clips, 0)
    before = head.head.weight.detach().clone()
    extra = [("closure", 0.5, closure_term(corpus, clips, 0.3)), ("phoneme", 0.1, head)]
    _, history = fit(corpus, tmp_path / "a", recipe, extra)
    assert {"closure", "phoneme", "vertex", "velocity"} <= set(history[0])
    assert not torch.equal(head.head.weight, before)
    for name in ("closure", "phoneme"):
        values = [row[name] for row in history]
        assert sum(values[-5:]) < sum(values[:5]), name


def test_refusals(corpus: Corpus) -> None:
    clips = [dataclasses.replace(clip, phonemes=()) for clip in corpus.split("train")]
    with pytest.raises(BadInput, match=r"expected phonemes of every training clip, found none of A0"):
        PhonemeTerm(corpus, clips, 0)
    bare = dataclasses.replace(corpus.topology, lip_pairs=np.zeros((0, 2), np.int64))
    with pytest.raises(BadInput, match=r"expected pairs of an upper and a lower lip vertex, found none"):
        closure_term(dataclasses.replace(corpus, topology=bare), clips, 0.3)
