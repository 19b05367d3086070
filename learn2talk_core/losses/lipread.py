"""The lipread loss (Learn2Talk, Eq. 6)."""

import torch


def lipread_loss(read: torch.Tensor, taught: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """L_lipread = 1 - CosSim(E_lipread(G_teach(X)), E_lipread(DR(Ŷ))), mean over frames (Learn2Talk, Eq. 6).

    Eq. 6 prints the similarity itself, which must be maximised; this loss, to be minimised, is 1 minus the similarity.

    Args:
        read: (B, T, C) features that the lip reader computes from the rendered student, with gradient.
        taught: (B, T, C) its features of the teacher's video.
        mask: (B, T), True for the frames that count; all if None.
    """
    distance = 1 - torch.cosine_similarity(read, taught, dim=-1)
    return distance.mean() if mask is None else (distance * mask).sum() / mask.sum()
