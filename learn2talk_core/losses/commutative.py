"""SelfTalk's two consistency losses: what the lips say must be what the recogniser hears (Peng et al. 2023)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def latent_consistency(read: Tensor, heard: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of lip features and the recogniser's hidden states (Eq. 15), without the padding.

    Args:
        read, heard: (B, N, H).
        mask: (B, N) bool, False in the padding; on the CPU, so that nothing waits to learn how many are True.
    """
    places = mask.flatten().nonzero()[:, 0].to(read.device, non_blocking=True)
    return (read - heard).flatten(0, 1)[places].square().mean()


def text_consistency(logits: Tensor, lengths: Sequence[int], texts: Sequence[Tensor]) -> Tensor:
    """CTC loss of the text that the recogniser heard, given the lips (Eq. 17): the mean over the clips of the negative
    log-probability per unit of text.

    A text that does not fit into its clip counts 0, as does one without units whose probability is 1.

    Args:
        logits: (B, N, units), unit 0 is blank.
        lengths: frames of each clip.
        texts: units of each clip (n,), not blank.
    """
    counts = [len(text) for text in texts]
    targets = torch.cat(list(texts)).long() if sum(counts) else torch.zeros(0, dtype=torch.long)
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    sizes = torch.tensor(counts)  # these and the lengths stay on the CPU, where torch reads them
    loss = F.ctc_loss(log_probs, targets, torch.tensor(lengths), sizes, reduction="none", zero_infinity=True)
    return (loss / sizes.clamp(min=1).to(loss.dtype).to(loss.device, non_blocking=True)).mean()
