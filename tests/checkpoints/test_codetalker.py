"""CodeTalker's two files: made small, as its code saves them, imported, exported and refused."""

from pathlib import Path

import pytest
import torch

from learn2talk_core.checkpoints.codetalker import (
    export_codetalker,
    import_codec,
    import_codetalker,
    import_motion_prior,
    import_student,
)
from learn2talk_core.checkpoints.exchange import export_checkpoint, import_checkpoint
from learn2talk_core.checkpoints.students import Fit
from learn2talk_core.corpus.published_speakers import BIWI, VOCASET
from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.student import AudioAlignment
from learn2talk_core.run.errors import BadInput
from tests.checkpoints.test_wav2vec2 import tiny
from tests.golden.fill import waveform
from tests.toy import toy_corpus


def network(alignment: AudioAlignment = "vocaset", styles: int = 8, vertices: int = 9) -> CodeTalker:
    torch.manual_seed(0)
    shape = CodecShape(vertices, 16, 2, 8, 12, codes=4, code_width=4, entries=10, projected=alignment == "biwi")
    model = CodeTalker(
        MotionCodec(shape), styles, audio_encoder=tiny(), width=16, layers=2, alignment=alignment,
        period=25 if alignment == "biwi" else 30,
    )  # fmt: skip
    torch.nn.init.normal_(model.feat_map.weight)
    return model.eval()


def files(tmp_path: Path, model: CodeTalker | None = None) -> tuple[Path, Path]:
    export_codetalker(model or network(), tmp_path / "own")
    return tmp_path / "own" / "stage1.pth.tar", tmp_path / "own" / "stage2.pth.tar"


@pytest.mark.parametrize(("alignment", "speakers"), [("vocaset", VOCASET), ("biwi", BIWI)])
@torch.no_grad()
def test_there_and_back(alignment: AudioAlignment, speakers: tuple[str, ...], tmp_path: Path) -> None:
    own = network(alignment, len(speakers))
    first, second = files(tmp_path, own)
    outer = torch.load(second, weights_only=True)["state_dict"]
    assert not any(key.startswith("autoencoder") for key in outer)
    model, names = import_codetalker(second, first)  # in any order
    assert names == speakers
    assert model.alignment == alignment
    assert model.autoencoder.shape == own.autoencoder.shape
    wave, styles = waveform(1.0), torch.eye(len(speakers))[:2]
    torch.testing.assert_close(
        model.predict_states(wave, model.period, styles, 30), own.predict_states(wave, model.period, styles, 30)
    )
    export_codetalker(model, tmp_path / "again")
    for path in (first, second):
        one, other = (torch.load(p, weights_only=True)["state_dict"] for p in (path, tmp_path / "again" / path.name))
        assert list(one) == list(other)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_commands(tmp_path: Path) -> None:
    first, second = files(tmp_path)
    said = import_checkpoint([str(first), str(second)], "codetalker", tmp_path / "imported")
    assert said.startswith("CodeTalker of 9 vertices and 8 styles at 30 frames per second, alignment vocaset")
    assert len(export_checkpoint(tmp_path / "imported", "codetalker", tmp_path / "back")) == 1  # another encoder
    assert sorted(p.name for p in (tmp_path / "back").iterdir() if "stage" in p.name) == [
        "stage1.pth.tar", "stage2.pth.tar", "stage2.pth.tar.config.json",
    ]  # fmt: skip
    with pytest.raises(BadInput, match=r"--as codetalker: expected two files of weights, found .*stage2"):
        import_checkpoint([str(second)], "codetalker", tmp_path / "other")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    first, second = files(tmp_path)
    for given, pattern in (
        (Fit("abcd"), "expected 4 styles, one per training speaker of the corpus, found 8"),
        (Fit(vertices=7), "expected a face of 7 vertices, found one of 9"),
        (Fit(fps=25.0), "expected weights for 25 frames per second, found for 30"),
    ):
        with pytest.raises(BadInput, match=pattern):
            import_codetalker(first, second, given)
    with pytest.raises(BadInput, match=r"expected one file of each stage of CodeTalker, found none of stage 2"):
        import_codetalker(first, first)
    with pytest.raises(BadInput, match=r"expected a file of CodeTalker's stage 1, found one of stage 2"):
        import_codec(second)
    other, _ = files(tmp_path / "b", network(vertices=5))
    with pytest.raises(BadInput, match=r"expected a codec of 9 vertices, as in stage2.pth.tar, found one of 5"):
        import_codetalker(other, second)
    inner = torch.load(first, weights_only=True)["state_dict"]
    torch.save({"state_dict": {**inner, "decoder.more": torch.zeros(1)}}, first)
    with pytest.raises(BadInput, match=r"expected the weights of CodeTalker's codec, found decoder.more"):
        import_codec(first)


def test_for_a_corpus(tmp_path: Path) -> None:
    corpus = toy_corpus(tmp_path / "corpus")
    first, second = files(tmp_path, network(styles=2, vertices=64))
    model, speakers = import_student(first.parent, corpus)
    assert speakers == ("A", "B")
    assert model.vertex_count == 64
    assert import_motion_prior(first, corpus).shape.vertex_count == 64
    wrong, _ = files(tmp_path / "b")
    with pytest.raises(BadInput, match=r"expected a face of 64 vertices, found one of 9"):
        import_motion_prior(wrong, corpus)
    second.unlink()
    with pytest.raises(BadInput, match=r"expected a folder with CodeTalker's two files, found 1 of them"):
        import_student(first.parent, corpus)
