"""Forced alignment: the most probable times of a known sequence, by the Viterbi algorithm."""

import numpy as np

LEAST = -1e30  # log-probability of what is impossible; finite, so that differences exist


def forced_alignment(log_probs: np.ndarray, tokens: list[int], silence: int = 0) -> np.ndarray:
    """The frames of each token on the most probable path through `tokens`, with optional silence around each.

    Every token takes at least one frame. The path's probability is the product of those of its frames.

    Args:
        log_probs: (T, C) log-probability of each class at each frame.
        tokens: classes, at most T of them.
        silence: the class of silence.

    Returns:
        (len(tokens), 2) int64: first frame, and the frame after the last.

    Raises:
        ValueError: more tokens than frames.
    """
    frames, count = len(log_probs), len(tokens)
    if count > frames:
        raise ValueError(f"{count} tokens do not fit into {frames} frames")
    if count == 0:
        return np.zeros((0, 2), np.int64)
    # states: silence, token 0, silence, token 1, ..., silence
    states = np.full(2 * count + 1, silence)
    states[1::2] = tokens
    spoken = np.arange(len(states)) % 2 == 1
    emitted = log_probs[:, states].astype(np.float64)
    score = np.full(len(states), LEAST)
    score[:2] = emitted[0, :2]
    came = np.zeros((frames, len(states)), np.uint8)  # how many states back the best predecessor is
    for t in range(1, frames):
        before = np.full((3, len(states)), LEAST)
        before[0] = score
        before[1, 1:] = score[:-1]
        before[2, 2:] = np.where(spoken[2:], score[:-2], LEAST)  # only silence may be left out
        came[t] = before.argmax(0)
        score = np.take_along_axis(before, came[t][None].astype(np.int64), 0)[0] + emitted[t]
    state = len(states) - 1 - int(score[-2] >= score[-1])
    path = np.empty(frames, np.int64)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(came[t, state])
    own = 2 * np.arange(count) + 1
    return np.stack([np.searchsorted(path, own), np.searchsorted(path, own, side="right")], axis=1)
