"""The 3D sync loss (Learn2Talk, Eq. 7)."""

from torch import Tensor

from learn2talk_core.losses.contrastive import sync_probability


def sync_loss(mesh: Tensor, audio: Tensor, mask: Tensor | None = None) -> Tensor:
    """Eq. 7 with the sign for minimisation: the mean over windows of 1 − p, where p is the probability of sync.

    The paper writes a sum of similarities, which decreases when motion and audio are out of sync. The mean over windows
    instead of the sum makes λ1 independent of the clip's length.

    Args:
        mesh: (B, N, E) embeddings of the windows of the predicted motion, by the frozen SyncNet3D of Eq. 5.
        audio: (B, N, E) embeddings of the same windows of the audio.
        mask: (B, N) 1 for real windows, 0 for windows in the padding of the batch; all real if None.
    """
    loss = 1 - sync_probability(mesh, audio)
    return loss.mean() if mask is None else (loss * mask).sum() / mask.sum()
