import torch

from learn2talk_core.models.padding import frame_mask


def test_a_mask_equals_a_loop() -> None:
    x, lengths = torch.zeros(3, 5, 2), [5, 1, 3]
    mask = frame_mask(lengths, x)
    assert mask is not None
    assert mask.tolist() == [[frame < length for frame in range(5)] for length in lengths]


def test_no_mask_without_padding() -> None:
    assert frame_mask(None, torch.zeros(2, 4, 1)) is None
    assert frame_mask([4, 4], torch.zeros(2, 4, 1)) is None
