"""The student's losses besides the vertex loss: SyncNet3D (Eq. 7), and the 2D teacher through lip reading (Eq. 6).

Both are functions of the decoder's states h. The map from states to vertices is affine, so each computes only the
vertices that it needs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.losses.lipread import lipread_loss
from learn2talk_core.losses.sync import sync_loss
from learn2talk_core.models.lipreader import FPS as VIDEO_FPS
from learn2talk_core.models.lipreader import Features, LipReader, load_lipreader
from learn2talk_core.models.students.student import Student
from learn2talk_core.models.syncnet3d import SyncNet3D, audio_windows, load_syncnet3d
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.progress import progress
from learn2talk_core.run.resample import interpolated_tensor, resampled_count
from learn2talk_core.run.seed import generator
from learn2talk_core.teacher.features import open_teacher_features
from learn2talk_core.training.student import ExtraTerm

FRONTEND_EDGE = 2  # frames on either side that the lip reader's first convolution (5 frames) sees


def extra_terms(
    corpus: Corpus,
    clips: Sequence[Clip],
    *,
    lambda1: float,
    lambda2: float,
    syncnet3d: str | Path,
    lipreader: str | Path,
    teacher_features: str | Path,
    lipread_frames: int,
    lipread_clips: int,
    seed: int,
) -> list[tuple[str, float, ExtraTerm]]:
    """The terms of Eq. 8 besides the vertex loss, for `train_student`; a term whose weight is 0 is left out.

    Args:
        corpus, clips: the student's training data.
        lambda1, lambda2: the weights of Eq. 7 and Eq. 6.
        syncnet3d, lipreader, teacher_features: folders of the frozen experts and of E_lipread(G_teach(X)).
        lipread_frames, lipread_clips, seed: see `lipread_term`.
    """
    terms: list[tuple[str, float, ExtraTerm]] = []
    if lambda1:
        syncnet = load_syncnet3d(syncnet3d, corpus.recipe)
        terms.append(("sync", lambda1, sync_term(corpus, syncnet, embed_speech(corpus, clips, syncnet))))
    if lambda2:
        teacher = open_teacher_features(teacher_features)
        taught = {clip.id: torch.from_numpy(teacher.features(clip.id)) for clip in clips}
        reader, _ = load_lipreader(lipreader)
        term = lipread_term(
            corpus, reader, cast(Features, teacher.kind), taught,
            frames=lipread_frames, clips_per_step=lipread_clips, seed=seed,
        )  # fmt: skip
        terms.append(("lipread", lambda2, term))
    return terms


@torch.no_grad()
def embed_speech(corpus: Corpus, clips: Sequence[Clip], syncnet: SyncNet3D) -> dict[str, Tensor]:
    """SyncNet3D's embeddings (M, E) of the audio windows of each clip, by clip id."""
    return {
        clip.id: syncnet.embed_audio(torch.from_numpy(audio_windows(corpus.audio(clip), corpus.fps)))
        for clip in progress(clips, "audio embeddings", unit="clip")
    }


def sync_term(corpus: Corpus, syncnet: SyncNet3D, audio: Mapping[str, Tensor]) -> ExtraTerm:
    """Eq. 7 on every window of the clips of a step.

    Args:
        corpus: gives the mouth's vertex ids.
        syncnet: the frozen SyncNet3D of Eq. 5.
        audio: its embeddings of the clips' audio, from `embed_speech`.
    """
    region = torch.from_numpy(corpus.topology.regions["mouth"])

    def term(student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor:
        mesh = syncnet.embed_mesh(unit * student.displacement(h, region))  # (B, N, E)
        target, mask = torch.zeros_like(mesh), mesh.new_zeros(mesh.shape[:2])
        for row, clip in enumerate(clips):
            known = audio[clip.id]
            windows = max(0, min(len(known), clip.frames - syncnet.shape.window + 1))
            target[row, :windows] = known[:windows]
            mask[row, :windows] = 1
        return sync_loss(mesh, target, mask)

    return term


def lipread_term(
    corpus: Corpus,
    reader: LipReader,
    kind: Features,
    taught: Mapping[str, Tensor],
    *,
    frames: int,
    clips_per_step: int,
    seed: int,
) -> ExtraTerm:
    """Eq. 6 on a random window of some of the clips of a step: render, lip-read, compare with the teacher's video.

    The states are resampled to 25 fps before they are mapped to vertices: the map is affine, so this equals resampling
    the vertices.

    Args:
        corpus: the student's corpus; the face is rendered with its own template and the topology's colours.
        reader: the frozen lip reader, E_lipread.
        kind: which of its features.
        taught: E_lipread(G_teach(X)) of each clip (T at 25 fps, C), by clip id.
        frames: length of the window at 25 fps.
        clips_per_step: how many of a step's clips are lip-read.
        seed: seed of the choice of windows.
    """
    region = torch.from_numpy(corpus.topology.regions["mouth_view"])
    views = {s: mouth_view(corpus.topology, corpus.template(s), corpus.mm_per_unit) for s in corpus.train_speakers}

    def term(student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor:
        images, targets = [], []
        for row, clip in enumerate(clips[:clips_per_step]):
            known = taught[clip.id]
            available = min(len(known), resampled_count(clip.frames, corpus.fps, VIDEO_FPS))
            length = min(frames, available)
            first = int(generator(seed, "lipread window", step, row).integers(available - length + 1))
            at = (first + torch.arange(length, dtype=torch.float64)) / VIDEO_FPS * corpus.fps
            displacement = unit * student.displacement(interpolated_tensor(h[row], at)[None], region)[0]
            template = torch.from_numpy(np.ascontiguousarray(corpus.template(clip.speaker, "mouth_view")))
            images.append(render_mouth(views[clip.speaker], template + displacement))
            targets.append(known[first : first + length])
        lengths = torch.tensor([len(image) for image in images])
        read = reader.features(nn.utils.rnn.pad_sequence(images, batch_first=True), kind, lengths)
        return lipread_loss(read, nn.utils.rnn.pad_sequence(targets, batch_first=True), _judged(read, lengths, kind))

    return term


def _judged(read: Tensor, lengths: Tensor, kind: Features) -> Tensor:
    """Mask (B, T) of the frames that count: not the padding and, for the front-end, not the ends of a window, where its
    convolution sees fewer frames than it saw in the teacher's whole clip."""
    edge = FRONTEND_EDGE if kind == "frontend" and int(lengths.min()) > 2 * FRONTEND_EDGE else 0
    frame = torch.arange(read.shape[1])[None]
    return (frame >= edge) & (frame < lengths[:, None] - edge)
