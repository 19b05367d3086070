"""The two contrastive losses that SyncNet3D is trained with (Learn2Talk, Sect. III-D)."""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-4  # keeps the logarithms of Eq. 5 and their gradients finite


def sync_probability(mesh: Tensor, audio: Tensor) -> Tensor:
    """Probability that mesh and audio windows are in sync: the cosine of their embeddings, which lies in [0, 1].

    The paper says that the cosine "will be normalized to the range of [0, 1]". As in Wav2Lip, the source of Eq. 5, the
    embeddings are non-negative (they end in a ReLU), so their cosine is already in that range. The alternative,
    (1 + cos) / 2, would give two unrelated windows (cosine 0) a probability of ½.

    Args:
        mesh: (..., E) non-negative embeddings of windows of mouth motion.
        audio: (..., E) non-negative embeddings of windows of audio; broadcast against `mesh`.

    Returns:
        (...) numbers in [0, 1].
    """
    return F.cosine_similarity(mesh, audio, dim=-1).clamp(0.0, 1.0)


def margin_loss(distance: Tensor, genuine: Tensor, *, margin: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """Eq. 4: y d² + (1 − y) max(p − d, 0)², averaged over the pairs (the paper's sum divided by N).

    Args:
        distance: d, L2 distance of the two embeddings of each pair, any shape.
        genuine: y, 1 for genuine and 0 for false pairs, same shape.
        margin: p, the distance beyond which false pairs have no loss.
        weight: weight of each pair in the average; equal weights if None.
    """
    loss = genuine * distance.square() + (1 - genuine) * (margin - distance).clamp(min=0).square()
    return _mean(loss, weight)


def cosine_bce_loss(probability: Tensor, genuine: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Eq. 5: −(y log d + (1 − y) log(1 − d)), averaged over the pairs.

    Args:
        probability: d, the cosine of the two embeddings of each pair in [0, 1] (see `sync_probability`), any shape.
        genuine: y, 1 for genuine and 0 for false pairs, same shape.
        weight: weight of each pair in the average; equal weights if None.
    """
    d = probability.clamp(EPSILON, 1 - EPSILON)
    loss = -(genuine * d.log() + (1 - genuine) * (1 - d).log())
    return _mean(loss, weight)


def _mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    return (
        loss.mean() if weight is None else (loss * weight).sum() / weight.sum().clamp(min=torch.finfo(loss.dtype).eps)
    )
