"""The 3D sync loss (Learn2Talk, Eq. 7)."""

from torch import Tensor

from learn2talk_core.losses.contrastive import sync_probability


def sync_loss(mesh: Tensor, audio: Tensor, mask: Tensor | None = None) -> Tensor:
    """Eq. 7 with the sign that minimising asks for: the mean over windows of 1 − p, p the probability of sync.

    The paper writes a sum of similarities, which falls when motion and audio drift apart. The mean over windows
    instead of the sum makes λ1 independent of the clip's length.

    Args:
        mesh: (B, N, E) embeddings of the windows of the predicted motion, by the frozen SyncNet3D of Eq. 5.
        audio: (B, N, E) embeddings of the same windows of the audio.
        mask: (B, N) 1 for real windows and 0 for those in the padding of a batch; all real where None.
    """
    loss = 1 - sync_probability(mesh, audio)
    return loss.mean() if mask is None else (loss * mask).sum() / mask.sum()
