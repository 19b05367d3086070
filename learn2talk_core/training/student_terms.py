"""Losses that can be added to those of any student: SyncNet3D (Eq. 7), the 2D teacher through lip reading (Eq. 6), and
two of NVIDIA's Audio2Face-3D, the lip distance and a phoneme head.

All are functions of the student's states h, from which each computes only the vertices that it needs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.corpus.phonemes import PHONEMES, frame_labels
from learn2talk_core.losses.closure import closure_loss
from learn2talk_core.losses.lipread import lipread_loss
from learn2talk_core.losses.sync import sync_loss
from learn2talk_core.mesh.topology import lip_gap
from learn2talk_core.models.lipreader import FPS as VIDEO_FPS
from learn2talk_core.models.lipreader import Features, LipReader, load_lipreader, load_units
from learn2talk_core.models.students.student import Student
from learn2talk_core.models.syncnet3d import SyncNet3D, audio_windows, load_syncnet3d
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.device import device_of, run_device, sent
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.progress import progress
from learn2talk_core.run.resample import interpolated_tensor, resampled_count
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.run.weights import folded
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
    lipread_frames: int | None,
    lipread_clips: int,
    seed: int,
    lambda_closure: float = 0.0,
    closure_sharpness: float = 0.0,
    lambda_phoneme: float = 0.0,
) -> list[tuple[str, float, ExtraTerm]]:
    """The terms that are added to a student's own losses by `train_student`; a term whose weight is 0 is left out.
    Frozen networks and targets are put on the run's device.

    Args:
        corpus, clips: the student's training data.
        lambda1, lambda2: the weights of Eq. 7 and Eq. 6.
        syncnet3d, lipreader, teacher_features: folders of the frozen experts and of E_lipread(G_teach(X)).
        lipread_frames, lipread_clips, seed: see `lipread_term`.
        lambda_closure, closure_sharpness: weight and k of `losses/closure.py`.
        lambda_phoneme: weight of `PhonemeTerm`.
    """
    terms: list[tuple[str, float, ExtraTerm]] = []
    device = run_device()
    if lambda1:
        syncnet = folded(load_syncnet3d(syncnet3d, corpus.recipe)).to(device)
        terms.append(("sync", lambda1, sync_term(corpus, syncnet, embed_speech(corpus, clips, syncnet))))
    if lambda2:
        teacher = open_teacher_features(teacher_features)
        taught = {clip.id: torch.from_numpy(teacher.features(clip.id)) for clip in clips}
        reader, _ = load_lipreader(lipreader)
        term = lipread_term(
            corpus, folded(reader).to(device), cast(Features, teacher.kind), taught,
            frames=lipread_frames, clips_per_step=lipread_clips, seed=seed,
            published=load_units(lipreader) is not None,
        )  # fmt: skip
        terms.append(("lipread", lambda2, term))
    if lambda_closure:
        terms.append(("closure", lambda_closure, closure_term(corpus, clips, closure_sharpness)))
    if lambda_phoneme:
        terms.append(("phoneme", lambda_phoneme, PhonemeTerm(corpus, clips, seed)))
    return terms


@torch.no_grad()
def embed_speech(corpus: Corpus, clips: Sequence[Clip], syncnet: SyncNet3D) -> dict[str, Tensor]:
    """SyncNet3D's embeddings (M, E) of the audio windows of each clip, by clip id, on its device."""
    device = device_of(syncnet)
    return {
        clip.id: syncnet.embed_audio(sent(torch.from_numpy(audio_windows(corpus.audio(clip), corpus.fps)), device))
        for clip in progress(clips, "audio embeddings", unit="clip")
    }


def sync_term(corpus: Corpus, syncnet: SyncNet3D, audio: Mapping[str, Tensor]) -> ExtraTerm:
    """Eq. 7 on every window of the clips of a step.

    Args:
        corpus: gives the mouth's vertex ids.
        syncnet: the frozen SyncNet3D of Eq. 5.
        audio: its embeddings of the clips' audio, from `embed_speech`.
    """
    region = sent(torch.from_numpy(corpus.topology.regions["mouth"]), device_of(syncnet))

    def term(student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor:
        mesh = syncnet.embed_mesh_weights(unit * student.projection(h, region, syncnet.modes))  # (B, N, E)
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
    frames: int | None,
    clips_per_step: int,
    seed: int,
    published: bool = False,
) -> ExtraTerm:
    """Eq. 6 on a random window of some of the clips of a step: render, lip-read, compare with the teacher's video.

    The states are resampled to 25 fps before they are mapped to vertices: the map is affine, so this equals resampling
    the vertices.

    Args:
        corpus: the student's corpus; the face is rendered with its own template and the topology's colours.
        reader: the frozen lip reader, E_lipread.
        kind: which of its features.
        taught: E_lipread(G_teach(X)) of each clip (T at 25 fps, C), by clip id, on any device.
        frames: length of the window at 25 fps; None is the whole clip.
        clips_per_step: how many of a step's clips are lip-read.
        seed: seed of the choice of windows.
        published: whether the reader is a published one, see `mouth_view`.
    """
    device = device_of(reader)
    region = sent(torch.from_numpy(corpus.topology.regions["mouth_view"]), device)
    views = {
        s: mouth_view(corpus.topology, corpus.template(s), corpus.mm_per_unit, published=published)
        for s in corpus.train_speakers
    }
    taught = {name: sent(features, device) for name, features in taught.items()}

    def term(student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor:
        windows, templates, targets = [], [], []
        for row, clip in enumerate(clips[:clips_per_step]):
            known = taught[clip.id]
            available = min(len(known), resampled_count(clip.frames, corpus.fps, VIDEO_FPS))
            length = available if frames is None else min(frames, available)
            first = int(generator(seed, "lipread window", step, row).integers(available - length + 1))
            at = (first + torch.arange(length, dtype=torch.float64, device=device)) / VIDEO_FPS * corpus.fps
            windows.append(interpolated_tensor(h[row], at))
            template = torch.from_numpy(np.ascontiguousarray(corpus.template(clip.speaker, "mouth_view")))
            templates.append(sent(template, device))
            targets.append(known[first : first + length])
        lengths = torch.tensor([len(window) for window in windows])
        moved = (unit * student.displacement(torch.cat(windows)[None], region)[0]).split(lengths.tolist())
        images = [
            render_mouth(views[clip.speaker], template + displacement)
            for clip, template, displacement in zip(clips, templates, moved, strict=False)
        ]
        read = reader.features(nn.utils.rnn.pad_sequence(images, batch_first=True), kind, lengths)
        return lipread_loss(read, nn.utils.rnn.pad_sequence(targets, batch_first=True), _judged(read, lengths, kind))

    return term


def _judged(read: Tensor, lengths: Tensor, kind: Features) -> Tensor:
    """Mask (B, T) of the frames that count: not the padding and, for the front-end, not the ends of a window, where its
    convolution sees fewer frames than it saw in the teacher's whole clip."""
    edge = FRONTEND_EDGE if kind == "frontend" and int(lengths.min()) > 2 * FRONTEND_EDGE else 0
    frame = torch.arange(read.shape[1], device=read.device)[None]
    return (frame >= edge) & (frame < sent(lengths, read.device)[:, None] - edge)


def closure_term(corpus: Corpus, clips: Sequence[Clip], sharpness: float) -> ExtraTerm:
    """The lip-distance loss on all lip pairs of the topology, in square millimetres.

    Raises:
        BadInput: a topology without lip pairs.
    """
    pairs = corpus.topology.lip_pairs
    if len(pairs) == 0:
        fix = "Set lambda_closure to 0, or name the lips of the corpus."
        raise BadInput(corpus.folder, expected="pairs of an upper and a lower lip vertex", found="none", fix=fix)
    region, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(pairs.shape)  # the pairs as places in `region`
    ids, scale = torch.from_numpy(region), corpus.mm_per_unit
    rest = {s: torch.from_numpy(lip_gap(corpus.template(s), pairs)) * scale for s in corpus.train_speakers}
    true = {clip.id: torch.from_numpy(lip_gap(corpus.displacement(clip, region), places)) * scale for clip in clips}
    pairs_of_region = torch.from_numpy(places)

    def term(student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor:
        device = h.device
        lips = student.displacement(h, sent(ids, device))
        moved = lip_gap(lips, sent(pairs_of_region, device)) * (unit * scale)
        rests = torch.stack([rest[clip.speaker] for clip in clips])[:, None]
        truth, mask = torch.zeros(moved.shape), torch.zeros(moved.shape[:2], dtype=torch.bool)
        for row, clip in enumerate(clips):
            truth[row, : clip.frames], mask[row, : clip.frames] = true[clip.id][: clip.frames], True
        rests, truth, mask = (sent(x, device) for x in (rests, truth, mask))
        return closure_loss(moved + rests, truth + rests, mask, sharpness)

    return term


class PhonemeTerm(nn.Module):
    """Cross-entropy of the phoneme at each frame, read by a linear head from the displacements of the mouth.

    In Audio2Face-3D the head reads the network's own features. It reads the mouth here, so that it is the same for
    every network, and the mouth must show what is said. The head is trained with the student, and then discarded.

    Args:
        corpus, clips: the student's training data.
        seed: seed of the head's weights.

    Raises:
        BadInput: clips without phonemes.
    """

    def __init__(self, corpus: Corpus, clips: Sequence[Clip], seed: int) -> None:
        super().__init__()
        silent = [clip.id for clip in clips if not clip.phonemes]
        if silent:
            fix = "Set lambda_phoneme to 0, or add phonemes to the corpus."
            raise BadInput(
                corpus.folder, expected="phonemes of every training clip", found=f"none of {silent[0]}", fix=fix
            )
        self.region = torch.from_numpy(corpus.topology.regions["mouth"])
        self.labels = {c.id: torch.from_numpy(frame_labels(c.phonemes, c.frames, corpus.fps)) for c in clips}
        seed_torch(seed, "phoneme head")
        self.head = nn.Linear(3 * len(self.region), 1 + len(PHONEMES))

    def forward(self, student: Student, h: Tensor, clips: Sequence[Clip], *, unit: float, step: int) -> Tensor:
        """See `ExtraTerm`; the displacements are in `unit`s, the same scale for every corpus."""
        logits = self.head(student.displacement(h, sent(self.region, h.device)).flatten(2))
        labels = [self.labels[clip.id][: clip.frames] for clip in clips]
        known = torch.full(logits.shape[:2], -1)
        for row, own in enumerate(labels):
            known[row, : len(own)] = own
        known = sent(known, logits.device)
        return nn.functional.cross_entropy(logits.flatten(0, 1), known.flatten(), ignore_index=-1)
