"""Streaming animation: sound is fed piece by piece, and frames are returned as soon as they are ready."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from learn2talk_core.animation.animation import Animation, frame_count, resample_states
from learn2talk_core.animation.head_motion import HeadMotion, in_units
from learn2talk_core.animation.life import Life
from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16
from learn2talk_core.run.errors import BadInput

if TYPE_CHECKING:
    from learn2talk_core.animation.animator import Animator


class Stream:
    """Sound in, frames out, chunk by chunk. Made by `Animator.stream`, which documents the arguments.

    Memory is bounded: it holds the sound of one chunk with its context, and the keys and values of the frames that the
    decoder attends to.

    Attributes:
        fps: frame rate of the output.
        face: the face that is moved, as an animation without frames.
        pose: pose of the frames returned last, as `Animation.pose`; None without head motion.
    """

    def __init__(
        self,
        animator: "Animator",
        weights: Mapping[str, float],
        fps: float,
        *,
        chunk: float,
        look_ahead: float,
        past: float,
        memory: float,
        states: bool,
        life: Life,
    ) -> None:
        self.fps, self._own_fps = fps, animator.fps
        self._states = states
        self._chunk, self._ahead, self._past, frames = (
            max(least, round(seconds * animator.fps))
            for least, seconds in ((1, chunk), (0, look_ahead), (0, past), (1, memory))
        )
        self._spoken = animator.student.open_stream(animator._style_vector(weights), animator.fps, frames)
        self.face, self._life = animator._still(weights, fps, life), life
        self.pose: np.ndarray | None = None
        self._head = HeadMotion(animator._head, life.seed) if life.head else None
        self._fed = self._forgotten = 0  # samples: all so far, and those already dropped
        self._made = self._given = 0  # frames: at the student's rate, and at the output's
        self._held = np.zeros(0, np.float32)
        self._last = np.zeros((0, len(animator._map[0])), np.float32)  # the newest state, to interpolate from
        self._heard = 0  # samples that the student has heard
        self._finished = False

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Feed more sound.

        Args:
            samples: (n,) 16 kHz mono, floats in [-1, 1] or int16; any number of them.

        Returns:
            (t, V, 3) float32, the frames that are ready now, possibly none; or their states (t, d).

        Raises:
            BadInput: samples that are not finite or not mono; the stream is unchanged.
        """
        if self._finished:
            raise ValueError("this stream is finished: open another one")
        samples = np.asarray(samples)
        if samples.ndim != 1 or (samples.dtype != np.int16 and samples.dtype.kind != "f"):
            found = f"{samples.dtype} {samples.shape}"
            raise BadInput("stream", expected="float or int16 (samples,)", found=found, fix="Feed mono samples.")
        samples = from_int16(samples) if samples.dtype == np.int16 else samples.astype(np.float32)
        if not np.isfinite(samples).all():
            raise BadInput("stream", expected="finite samples", found="NaN or infinity", fix="Correct the samples.")
        samples = samples.clip(-1, 1)
        if self._head is not None:
            self._head.hear(samples)
        self._held = np.concatenate([self._held, samples])
        self._fed += len(samples)
        pieces = []
        while (end := self._samples(self._made + self._chunk + self._ahead)) <= self._fed:
            last = self._made + self._chunk
            pieces.append(self._output(self._speak(last, last + self._ahead, end), None))
        return self._shown(pieces)

    def finish(self) -> np.ndarray:
        """End the sound; returns the remaining frames up to its end, as `feed` does."""
        pieces, total = [], frame_count(self._fed, self._own_fps) if self._fed else 0
        while not self._finished and self._made < total:
            last = min(self._made + self._chunk, total)
            until = min(self._made + self._chunk + self._ahead, total)
            end = min(self._samples(self._made + self._chunk + self._ahead), self._fed)
            states = self._speak(last, until, end)
            pieces.append(self._output(states, frame_count(self._fed, self.fps) if last == total else None))
        self._finished = True
        if self._head is not None:
            self._head.finish()
        return self._shown(pieces)

    def _samples(self, frame: int) -> int:
        """The sample at which a frame (at the student's rate) begins."""
        return math.ceil(frame * SAMPLE_RATE / self._own_fps)

    @torch.no_grad()
    def _speak(self, last: int, until: int, end: int) -> np.ndarray:
        """States up to frame `last` at the student's rate, from sound up to frame `until` and sample `end`."""
        first = max(0, self._made - self._past)
        begin, new = round(first * SAMPLE_RATE / self._own_fps), end - self._heard
        wave = self._held[begin - self._forgotten : end - self._forgotten]
        states = self._spoken.extend(wave, new, self._made - first, last - self._made, until - first).numpy()
        self._heard = end
        self._made = last
        self._forget(round(max(0, last - self._past) * SAMPLE_RATE / self._own_fps))
        return states

    def _forget(self, before: int) -> None:
        """Drop samples that no later chunk needs; keep those that the student has not heard yet."""
        before = min(before, self._heard)
        self._held = self._held[before - self._forgotten :] if before > self._forgotten else self._held
        self._forgotten = max(before, self._forgotten)

    def _output(self, states: np.ndarray, total: int | None) -> np.ndarray:
        """Resample states to the output rate: the frames known to be within the sound, or `total` at its end."""
        known = np.concatenate([self._last, states])
        stop, step = self._given, self._own_fps / self.fps
        if total is None:
            while stop * step <= self._made - 1 and (stop + 1) * step <= self._made:
                stop += 1
        else:
            stop = total
        shown = resample_states(known, self._own_fps, self.fps, range(self._given, stop), self._made - len(known))
        self._given = stop
        # with a lower output rate, the next frame may lie before the last state
        first = int(stop * step) - (self._made - len(known))
        self._last = known[max(0, min(first, len(known) - 1)) :]
        return shown

    def _shown(self, pieces: list[np.ndarray]) -> np.ndarray:
        states = np.concatenate([np.zeros((0, self._last.shape[1]), np.float32), *pieces])
        shown = alive(self.face, states, self._given - len(states), self._life, self._head)
        self.pose = shown.pose
        return shown.states if self._states else shown.vertices()


def alive(face: Animation, states: np.ndarray, first: int, life: Life, head: HeadMotion | None) -> Animation:
    """The face with the student's states (t, d), beginning at frame `first`, and with blinks, gaze and head motion."""
    times = np.arange(first, first + len(states)) / face.fps
    pose = None if head is None else in_units(life.head * head.poses(times), face.mm_per_unit)
    return replace(face, states=np.concatenate([states, life.weights(times)], axis=1), pose=pose)
