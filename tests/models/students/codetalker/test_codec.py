"""CodeTalker's codec compared with the recorded reference at full size, and small ones with themselves."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learn2talk_core.models.students.codetalker.codec import CodecShape, MotionCodec, straight_through
from learn2talk_core.models.students.codetalker.feedback import Feedback
from learn2talk_core.training.students.codetalker import code_perplexity
from tests.golden.fill import Golden, fill_state_dict, normal

VOCASET = CodecShape(5023, 1024, 6, 8, 1536, codes=16, code_width=64, entries=256, projected=False)
BIWI = CodecShape(23370, 1024, 6, 8, 1536, codes=8, code_width=128, entries=256, projected=True)


def test_state_dicts_are_the_official_ones() -> None:
    golden = Golden("codetalker", "stage1_vocaset")
    for shape, keys in ((VOCASET, "keys"), (BIWI, "keys_BIWI")):
        with torch.device("meta"):
            own = MotionCodec(shape).state_dict()
        assert {key: list(value.shape) for key, value in own.items()} == golden.info[keys]


@torch.inference_mode()
def test_motion_to_codes_and_back() -> None:
    golden = Golden("codetalker", "stage1_vocaset")
    codec = MotionCodec(VOCASET).eval()
    kept = fill_state_dict(codec, golden.info["fill"])
    assert kept == ["encoder.encoder_pos_embedding.pe", "decoder.decoder_pos_embedding.pe"]
    steps = np.cumsum(normal("motion-steps", (1, 24, 64), 0.25), axis=1)
    displacement = torch.from_numpy(steps @ normal("motion-basis", (64, 15069), 0.2))
    template = torch.from_numpy(normal("template", (1, 15069), 0.1))
    # the reference subtracts the template from its sum with the motion
    coded = codec.encode(template[:, None] + displacement - template[:, None])
    np.testing.assert_array_equal(coded.numbers.flatten(), golden["code_indices"].dense())
    golden.assert_close("encoder_out", coded.features.flatten(2))
    golden.assert_close("quant_BCL", coded.quantised.flatten(1, 2).transpose(1, 2))
    loss = 1.25 * F.mse_loss(coded.quantised, coded.features)
    np.testing.assert_allclose(loss, golden["emb_loss"].value[0], rtol=1e-5)
    perplexity = code_perplexity(coded.numbers, VOCASET.entries)
    np.testing.assert_allclose(perplexity, golden["perplexity"].dense(), rtol=1e-5)
    weight, bias = codec.affine_map()
    decoded = F.linear(codec.decode(coded.quantised), weight, bias)
    golden.assert_close("decoded", decoded + template)
    golden.assert_close("decode_to_img", decoded)


def small(spread: float = 0.5, **other: Any) -> MotionCodec:
    torch.manual_seed(0)
    shape = CodecShape(5, 16, 2, 2, 24, codes=4, code_width=3, entries=10, projected=True)._replace(**other)
    codec = MotionCodec(shape)
    for parameter in codec.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=spread)
    return codec.eval()


@torch.no_grad()
def test_a_padded_batch_equals_single_clips() -> None:
    """In CodeTalker's own code neither its positions nor its normalisation allow any batch."""
    codec, lengths = small(), [9, 1, 4]
    motion = torch.randn(3, 9, 15)
    coded = codec.encode(motion, lengths)
    states = codec.decode(coded.quantised, lengths)
    for row, frames in enumerate(lengths):
        one = codec.encode(motion[row : row + 1, :frames])
        torch.testing.assert_close(coded.features[row : row + 1, :frames], one.features, atol=1e-4, rtol=1e-4)
        assert torch.equal(coded.numbers[row, :frames], one.numbers[0])
        torch.testing.assert_close(states[row : row + 1, :frames], codec.decode(one.quantised), atol=1e-4, rtol=1e-4)


def test_gradients_pass_the_quantisation() -> None:
    codec = small()
    motion = torch.randn(2, 6, 15)
    coded = codec.encode(motion, [6, 4])
    passed = straight_through(coded)
    torch.testing.assert_close(passed, coded.quantised)
    codec.decode(passed, [6, 4]).square().mean().backward()
    gradient = codec.encoder.get_parameter("vertice_mapping.0.weight").grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    assert codec.quantize.get_parameter("embedding.weight").grad is None


@pytest.mark.parametrize("projected", [True, False])
@torch.no_grad()
def test_feedback_is_the_last_frame_of_all_codes_so_far(projected: bool) -> None:
    codec = small(0.2) if projected else small(0.2, projected=False, code_width=4)
    codes = codec.quantize.embedding(torch.randint(10, (2, 30, 4)))
    exact, quick = (Feedback(codec.decoder, 2, 30, growth) for growth in (1.0, 1.1))
    for t in range(30):
        expected = codec.decode(codes[:, : t + 1])[:, -1]
        frame = codes[:, t : t + 1].flatten(2)
        torch.testing.assert_close(exact.extend(frame), expected, atol=1e-4, rtol=1e-4)
        near = quick.extend(frame)
        if t < 10:  # the clip still grows by a tenth with each frame
            torch.testing.assert_close(near, expected, atol=1e-4, rtol=1e-4)
        assert (near - expected).norm() < 0.3 * expected.norm()


@torch.no_grad()
def test_folding_the_unit_keeps_codes_and_scales_motion() -> None:
    codec, motion = small(), torch.randn(1, 7, 15)
    before = codec.encode(motion)
    shown = F.linear(codec.decode(before.quantised), *codec.affine_map())
    codec.scale_motion(0.01)
    after = codec.encode(0.01 * motion)
    assert torch.equal(before.numbers, after.numbers)
    torch.testing.assert_close(F.linear(codec.decode(after.quantised), *codec.affine_map()), 0.01 * shown)
