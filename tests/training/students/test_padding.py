"""In every network, the padding of a batch changes neither the states of its clips nor the network's own losses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.student import Student
from learn2talk_core.run.networks import network_names
from learn2talk_core.training.scratch import Scratch
from learn2talk_core.training.student import BatchOutput
from learn2talk_core.training.students import codetalker, faceformer, meshtalk, selftalk, voca
from tests.toy import toy_corpus
from tests.training.students import test_codetalker, test_meshtalk, test_selftalk, test_voca
from tests.training.test_student import RECIPE, encoder

Speak = Callable[[Sequence[Clip]], BatchOutput]
# Losses that are means over frames; SelfTalk's are means over other things (test_selftalk.py).
OWN = {"codetalker": ["features"], "meshtalk": ["cross_entropy"]}


def priors(network: str, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """An untrained motion prior, for networks that need one."""
    recipe = {"codetalker": test_codetalker.PRIOR, "meshtalk": test_meshtalk.LATENT}.get(network)
    if recipe is None:
        return {}
    training = {"codetalker": codetalker, "meshtalk": meshtalk}[network]
    short = recipe.__class__(**{**vars(recipe), "steps": 1})
    with Scratch(folder) as scratch:
        clips = corpus.split("train")
        prior, _ = training.train_motion_prior(
            corpus, encoder(), clips, short, seed=0, scratch=scratch, description="toy"
        )
    return {"prior": prior}


@pytest.mark.parametrize("network", network_names())
def test_padding_changes_nothing(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    clips = corpus.split("train")[:3]
    frames = [clip.frames for clip in clips]
    assert len(set(frames)) == 3
    training = {"codetalker": codetalker, "faceformer": faceformer, "meshtalk": meshtalk, "selftalk": selftalk,
                "voca": voca}[network]  # fmt: skip
    recipe = {"codetalker": test_codetalker.RECIPE, "faceformer": RECIPE, "meshtalk": test_meshtalk.RECIPE,
              "selftalk": test_selftalk.RECIPE, "voca": test_voca.RECIPE}[network]  # fmt: skip
    compared = []

    @torch.no_grad()
    def compare(model: Student, speak: Speak, *_: object, **__: object) -> list[dict[str, float]]:
        model.eval()
        for parameter in model.parameters():  # some maps begin with zeros
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        together, alone = speak(clips), [speak([clip]) for clip in clips]
        for row, (count, one) in enumerate(zip(frames, alone, strict=True)):
            assert one.states[0].std() > 0
            torch.testing.assert_close(together.states[row, :count], one.states[0], atol=1e-4, rtol=1e-4)
        for name in OWN.get(network, []):
            value, *values = (float(loss) for out in (together, *alone) for own, _, loss in out.own if own == name)
            assert len(values) == 3
            assert value == pytest.approx(np.average(values, weights=frames), rel=1e-4)
        compared.append(model)
        return [{}]

    monkeypatch.setattr(training, "train_student", compare)
    if network == "meshtalk":  # its classes are drawn
        monkeypatch.setattr(meshtalk, "gumbel_noise", torch.zeros)
    more = {"prior": test_selftalk.recogniser()} if network == "selftalk" else {}
    given = priors(network, corpus, tmp_path / "prior")
    with Scratch(tmp_path / "scratch") as scratch:
        training.train_network(corpus, encoder(), clips, recipe, seed=0, scratch=scratch, description="toy",
                               **more, **given)  # fmt: skip
    assert len(compared) == 1
    assert isinstance(compared[0], CodeTalker) == (network == "codetalker")
