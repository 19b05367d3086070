"""The lip reader compared with outputs of the official one (tests/golden/vsr), and batches with single clips."""

import json

import numpy as np
import pytest
import torch

from learn2talk_core.models.lipreader import (
    LipReader,
    ctc_attention_loss,
    load_lipreader,
    official_shape,
    with_head,
)
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights
from tests.golden.fill import FOLDER, Golden, fill_state_dict, uniform


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("vsr", "small_adim256")


@pytest.fixture(scope="module")
def official(golden: Golden) -> LipReader:
    reader = LipReader(golden.info["odim"], **official_shape(golden.info["args"]))
    assert fill_state_dict(reader, golden.info["fill"]) == [
        key for key in reader.state_dict() if key.endswith("num_batches_tracked")
    ]
    return reader.eval()


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    """The recorded video: 25 frames of 96 × 96 pixels, made of blocks."""
    blocks = np.floor(uniform("vsr-blocks", (25, 12, 12)) * 200 + uniform("vsr-base", (1, 12, 12)) * 55)
    return torch.from_numpy(np.kron(blocks, np.ones((8, 8), np.float32)) / 255).float()[None]


@torch.no_grad()
def test_official_numbers(official: LipReader, golden: Golden, video: torch.Tensor) -> None:
    x = official.preprocess(video)
    golden.assert_close("transformed", x[0], atol=1e-6)
    features = official.frontend(x)
    golden.assert_close("resnet", features[0])  # values to 145
    encoded = official.encode(features)
    golden.assert_close("encoder", encoded[0])
    golden.assert_close("ctc_logp", official.ctc_log_probs(encoded)[0])
    logits = official.decode(torch.tensor([golden.info["decoder_prefix"]]), encoded)[0]
    golden.assert_close("decoder_logits", logits)
    golden.assert_close("decoder_logp_next", logits[-1].log_softmax(-1))


@torch.no_grad()
def test_official_numbers_of_legacy_positions(official: LipReader, golden: Golden, video: torch.Tensor) -> None:
    legacy = Golden("vsr", "small_adim256_legacy")
    shape = official_shape({**golden.info["args"], "rel_pos_type": None})
    reader = LipReader(golden.info["odim"], **shape).eval()
    reader.load_state_dict(official.state_dict(), strict=True)
    encoded = reader.encode(reader.frontend(reader.preprocess(video)))
    legacy.assert_close("encoder", encoded[0], atol=golden.tolerance("encoder"))
    legacy.assert_close("ctc_logp", reader.ctc_log_probs(encoded)[0], atol=golden.tolerance("ctc_logp"))


def test_keys_of_the_published_lrs3_weights() -> None:
    published = json.loads((FOLDER / "vsr" / "keys_LRS3_V_WER19.1.json").read_text())
    with torch.device("meta"):
        reader = LipReader(published["odim"], **official_shape(published["args"]))
    assert {key: list(value.shape) for key, value in reader.state_dict().items()} == published["keys"]


@torch.no_grad()
def test_official_numbers_at_full_size(video: torch.Tensor) -> None:
    golden = Golden("vsr", "LRS3_V_WER19.1")
    with torch.device("meta"):  # 250 million weights: skip the initialisation
        reader = LipReader(golden.info["odim"], **official_shape(golden.info["args"]))
    reader = reader.to_empty(device="cpu").eval()
    fill_state_dict(reader, golden.info["fill"])
    encoded = reader.encode(reader.frontend(reader.preprocess(video)))
    golden.assert_close("encoder", encoded[0])
    golden.assert_close("ctc_logp", reader.ctc_log_probs(encoded)[0])
    logits = reader.decode(torch.tensor([golden.info["decoder_prefix"]]), encoded)[0]
    golden.assert_close("decoder_logits", logits)


SMALL = {"width": 4, "dim": 16, "heads": 2, "hidden": 32, "encoder_layers": 2, "decoder_layers": 1, "kernel": 5}


@pytest.fixture
def small() -> LipReader:
    torch.manual_seed(0)
    return LipReader(9, **SMALL, normalise="clip", size=44).eval()


@torch.no_grad()
def test_padding_changes_nothing(small: LipReader) -> None:
    lengths = torch.tensor([12, 7])
    grey, tokens = torch.rand(2, 12, 96, 96), torch.tensor([[8, 1, 2], [8, 3, 3]])
    encoded = small.features(grey, "encoder", lengths)
    logits = small.decode(tokens, encoded, lengths)
    for clip, length in enumerate(lengths.tolist()):
        alone = small.features(grey[clip : clip + 1, :length], "encoder")
        torch.testing.assert_close(encoded[clip, :length], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits[clip], small.decode(tokens[clip : clip + 1], alone)[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_clip_normalisation_takes_out_light_and_contrast(small: LipReader) -> None:
    grey = torch.rand(1, 5, 88, 88)
    x = small.preprocess(grey)
    assert x.shape == (1, 1, 5, 44, 44)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-4)
    torch.testing.assert_close(small.preprocess(0.3 * grey + 0.2), x, atol=1e-3, rtol=0)


def test_crop_is_the_centre(small: LipReader) -> None:
    grey = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(small.preprocess(grey), small.preprocess(grey[:, :, 4:92, 4:92]))


def test_loss_is_the_hybrid_of_both_terms_by_hand(small: LipReader) -> None:
    """Attention: cross-entropy with the remaining probability spread over the V-1 wrong tokens. CTC: the sum over an
    explicit list of all alignments."""
    sentences = [[1, 2], [3]]
    encoded = small.features(torch.rand(2, 3, 88, 88), "encoder")
    logits = small.decode(torch.tensor([[8, 1, 2], [8, 3, 8]]), encoded).log_softmax(-1)
    terms = []
    for clip, targets in enumerate([[1, 2, 8], [3, 8]]):
        for position, target in enumerate(targets):
            wrong = logits[clip, position].sum() - logits[clip, position, target]
            terms.append(-0.9 * logits[clip, position, target] - 0.1 / 8 * wrong)
    log_probs = small.ctc_log_probs(encoded)
    likelihood = [torch.zeros(()), torch.zeros(())]
    for path in np.ndindex(9, 9, 9):
        collapsed = [t for i, t in enumerate(path) if t and (i == 0 or path[i - 1] != t)]
        for clip, sentence in enumerate(sentences):
            if collapsed == sentence:
                likelihood[clip] = likelihood[clip] + sum(log_probs[clip, i, t] for i, t in enumerate(path)).exp()
    ctc = -(likelihood[0].log() + likelihood[1].log()) / 3
    expected = 0.3 * ctc + 0.7 * sum(terms) / len(terms)
    loss = ctc_attention_loss(small, encoded, sentences, ctc_weight=0.3, smoothing=0.1)
    torch.testing.assert_close(loss, expected)


def test_saved_reader_comes_back(tmp_path, small: LipReader) -> None:
    model = with_head(small, 40)
    config = {"vocabulary": 9, **SMALL, "normalise": "clip", "size": 44}
    save_weights(tmp_path, model, {"reader": config, "classes": 40})
    reader, head = load_lipreader(tmp_path)
    grey = torch.rand(1, 4, 96, 96)
    encoded = small.features(grey, "encoder")
    assert torch.equal(reader.features(grey, "encoder"), encoded)
    assert torch.equal(head(encoded), model["head"](encoded))
    assert not any(p.requires_grad for p in reader.parameters())


def test_missing_reader_says_how_to_make_it(tmp_path) -> None:
    with pytest.raises(BadInput, match=r"expected a file, found nothing\. Make it first: dvc repro lipreader"):
        load_lipreader(tmp_path / "absent")
