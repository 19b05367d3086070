"""From motions to metrics: run the two judges (SyncNet3D and lip reader, never used as losses) and all formulas.

A motion is judged clip by clip; `metrics.clip` adds up the clips. Unseen speakers have no style of their own: as in the
paper, every training style is tried and the best one is reported. The mean over styles is reported too: it is what a
user gets on average from a style chosen at random.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from learn2talk_core.corpus.format import Clip, Corpus, open_corpus
from learn2talk_core.corpus.phonemes import PHONEMES, VISEMES, frame_labels
from learn2talk_core.corpus.predictions import Predictions, open_predictions
from learn2talk_core.metrics.clip import ClipScores, best_style, clip_row, corpus_intervals, corpus_scores, measure_clip
from learn2talk_core.metrics.lse import lse
from learn2talk_core.metrics.perception import character_error, feature_cosine, phoneme_error, viseme_accuracy
from learn2talk_core.metrics.ratio import Ratio
from learn2talk_core.models.lipreader import FPS as VIDEO_FPS
from learn2talk_core.models.lipreader import LipReader, Reading, load_lipreader, load_units, read_lips
from learn2talk_core.models.syncnet3d import SyncNet3D, audio_windows, load_syncnet3d
from learn2talk_core.render.mouth import mouth_view, render_mouth
from learn2talk_core.run.device import device_of, run_device, sent
from learn2talk_core.run.resample import resample_frames
from learn2talk_core.run.students import MEAN_STYLE, REFERENCE_ROWS
from learn2talk_core.statistics.recognition import plain_text

VISEME_CLASSES = np.array([0] + [VISEMES[name] for name in PHONEMES])


@dataclass(frozen=True)
class MotionJudges:
    """The judging networks, frozen, on one device. An official lip reader has no frame-wise head and outputs `units`
    of text."""

    syncnet: SyncNet3D
    reader: LipReader
    head: torch.nn.Linear | None
    units: tuple[str, ...] | None


def load_motion_judges(syncnet: str, lipreader: str, corpus: Corpus) -> MotionJudges:
    """Load the judging networks from their folders to the run's device; `corpus` is the one that they will judge."""
    device, (reader, head) = run_device(), load_lipreader(lipreader)
    return MotionJudges(
        load_syncnet3d(syncnet, corpus.recipe).to(device), reader.to(device),
        None if head is None else head.to(device), load_units(lipreader),
    )  # fmt: skip


@torch.no_grad()
def lip_read_motion(corpus: Corpus, clip: Clip, mouth: np.ndarray, judges: MotionJudges) -> Reading:
    """Resample a motion to 25 fps, render its mouth and read it.

    Args:
        mouth: vertices (T, R, 3) of the region `mouth_view` at the corpus's frame rate.
    """
    template, published = corpus.template(clip.speaker), judges.units is not None
    view = mouth_view(corpus.topology, template, corpus.mm_per_unit, published=published)
    shown = torch.from_numpy(resample_frames(mouth, corpus.fps, VIDEO_FPS))
    still = bool((shown == shown[:1]).all())
    grey = render_mouth(view, sent(shown[:1] if still else shown, device_of(judges.reader)))
    return read_lips(judges.reader, judges.head, grey.expand(len(shown), -1, -1))


@torch.no_grad()
def sync_ratios(
    corpus: Corpus, clip: Clip, mouth: np.ndarray, audio: torch.Tensor, judges: MotionJudges
) -> dict[str, Ratio]:
    """LSE-D, LSE-C and the distance at shift 0 of a motion (T, M, 3) of the region `mouth` against audio embeddings."""
    window = judges.syncnet.shape.window
    if len(mouth) < window or not len(audio):
        return {key: Ratio(0.0, 0.0) for key in ("lse_d", "lse_c", "lse_d0")}
    displacement = torch.from_numpy(np.ascontiguousarray(mouth - corpus.template(clip.speaker, "mouth")))
    mesh = judges.syncnet.embed_mesh(sent(displacement, device_of(judges.syncnet))[None])[0].cpu().numpy()
    found = lse(mesh, audio.numpy(), corpus.fps)
    return {
        "lse_d": Ratio(found.lse_d, 1),
        "lse_c": Ratio(found.lse_c, 1),
        "lse_d0": Ratio(found.distance_at_0, 1),
    }


def perception_ratios(
    clip: Clip, reading: Reading, true_features: np.ndarray, units: Sequence[str] | None = None
) -> dict[str, Ratio]:
    """Phoneme error, viseme accuracy, and cosine to the reader's features of the true motion, `true_features` (T, dim).

    With `units`, the texts of an official reader's tokens, the error is the character error of the text. Without a
    frame-wise head there is no viseme accuracy.
    """
    frames = min(len(reading.features), len(true_features))
    said = [1 + PHONEMES.index(p.name) for p in clip.phonemes if p.name]
    labels = frame_labels(clip.phonemes, frames, VIDEO_FPS)
    speaking = int((VISEME_CLASSES[labels] != 0).sum())
    ratios = {
        "lipread_error": Ratio(0.0, 0.0),
        "viseme_accuracy": Ratio(0.0, 0.0),
        "lipread_cosine": Ratio(feature_cosine(reading.features[:frames], true_features[:frames]), 1),
    }
    if units is not None:
        if count := len(plain_text(clip.text)):
            ratios["lipread_error"] = Ratio(character_error(reading.log_probs, clip.text, units) * count, count)
    elif said:
        ratios["lipread_error"] = Ratio(phoneme_error(reading.log_probs, said) * len(said), len(said))
    if speaking and reading.frame_logits is not None:
        share = viseme_accuracy(reading.frame_logits[:frames], labels, VISEME_CLASSES)
        ratios["viseme_accuracy"] = Ratio(share * speaking, speaking)
    return ratios


class ClipJudge:
    """Everything about one clip that does not depend on the judged motion, computed once.

    Args:
        corpus, clip: the clip and its corpus.
        judges: the judging networks.
        lrp_threshold_mm: μ of LRP.
    """

    def __init__(self, corpus: Corpus, clip: Clip, judges: MotionJudges, lrp_threshold_mm: float) -> None:
        self.corpus, self.clip, self.judges, self.threshold = corpus, clip, judges, lrp_threshold_mm
        self.truth = corpus.vertices(clip)
        self.mouth = corpus.topology.regions["mouth"]
        self.view = corpus.topology.regions["mouth_view"]
        with torch.no_grad():
            windows = sent(torch.from_numpy(audio_windows(corpus.audio(clip), corpus.fps)), device_of(judges.syncnet))
            self.audio = judges.syncnet.embed_audio(windows).cpu() if len(windows) else torch.zeros(0, 1)
        self.true_reading = lip_read_motion(corpus, clip, self.truth[:, self.view], judges)

    def scores(self, motion: np.ndarray, *, perception: bool) -> ClipScores:
        """Judge a motion (T, V, 3); `perception` also has it lip-read, the slowest part."""
        found = measure_clip(
            self.truth, motion, self.corpus.template(self.clip.speaker), self.clip.phonemes, self.corpus.topology,
            fps=self.corpus.fps, mm_per_unit=self.corpus.mm_per_unit, lrp_threshold_mm=self.threshold,
        ).with_ratios(sync_ratios(self.corpus, self.clip, motion[:, self.mouth], self.audio, self.judges))  # fmt: skip
        return found.with_ratios(self.perception(motion)) if perception else found

    def perception(self, motion: np.ndarray) -> dict[str, Ratio]:
        """The lip reader's part alone."""
        reading = self.true_reading
        if motion is not self.truth:
            reading = lip_read_motion(self.corpus, self.clip, motion[:, self.view], self.judges)
        return perception_ratios(self.clip, reading, self.true_reading.features, self.judges.units)


def mean_motion(corpus: Corpus) -> np.ndarray:
    """The mean displacement (V, 3) over all frames of the training clips: the best prediction without motion."""
    total, frames = np.zeros((len(corpus.topology.colours), 3)), 0
    for clip in corpus.split("train"):
        total += corpus.displacement(clip).sum(axis=0, dtype=np.float64)
        frames += clip.frames
    return (total / frames).astype(np.float32)


JudgedMotion = tuple[str, str, str, ClipScores]  # clip id, row of the table, style, scores


@dataclass(frozen=True)
class JudgedClip:
    """All motions of a clip, and the lip reader's features (T, dim) of the true one, for `read_clip`."""

    rows: list[JudgedMotion]
    true_features: np.ndarray


@dataclass(frozen=True)
class Judging:
    """Everything that one job needs to judge motions; see `open_judging`."""

    corpus: Corpus
    judges: MotionJudges
    predicted: dict[str, Predictions]

    @cached_property
    def clips(self) -> dict[str, Clip]:
        """Clip by id."""
        return {clip.id: clip for clip in self.corpus.clips}


def open_judging(corpus_folder: str, predicted: dict[str, str], judges: tuple[str, str]) -> Judging:
    """Open everything for a job in a process of its own, which uses one thread."""
    torch.set_num_threads(1)
    corpus = open_corpus(corpus_folder)
    models = {name: open_predictions(folder, corpus) for name, folder in predicted.items()}
    return Judging(corpus, load_motion_judges(*judges, corpus), models)


def judge_clip(
    judging: Judging, clip_id: str, *, lrp_threshold_mm: float, rest: np.ndarray | None = None, read_all: bool = False
) -> JudgedClip:
    """Judge every motion of a clip.

    Motions in several styles are lip-read later (`read_clip`), when the best style is known, or with `read_all` here.
    References and motions of seen speakers, which have one style, are lip-read here. `rest`, the corpus's
    `mean_motion`, also judges the references of test clips.
    """
    clip, rows = judging.clips[clip_id], []
    judge = ClipJudge(judging.corpus, clip, judging.judges, lrp_threshold_mm)
    if rest is not None and clip.split != "validation":
        for name, motion in _references(judging.corpus, clip, judge.truth, rest):
            rows.append((clip_id, name, "", judge.scores(motion, perception=True)))
    for name, model in judging.predicted.items():
        styles = model.styles(clip_id)
        for style in styles:
            scores = judge.scores(model.vertices(clip_id, style), perception=read_all or len(styles) == 1)
            rows.append((clip_id, name, style, scores))
    return JudgedClip(rows, judge.true_reading.features)


def read_clip(judging: Judging, wanted: tuple[str, str, str, np.ndarray]) -> dict[str, Ratio]:
    """Lip-read one motion (clip id, model, style, true features): the second pass, over the best styles only."""
    clip_id, model, style, true_features = wanted
    clip, mouth = judging.clips[clip_id], judging.predicted[model].vertices(clip_id, style, "mouth_view")
    reading = lip_read_motion(judging.corpus, clip, mouth, judging.judges)
    return perception_ratios(clip, reading, true_features, judging.judges.units)


def _references(corpus: Corpus, clip: Clip, truth: np.ndarray, rest: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    still = np.broadcast_to(corpus.template(clip.speaker), truth.shape)
    yield "truth", truth
    yield "template", still
    yield "mean_motion", still + rest


@dataclass(frozen=True)
class Summary:
    """The part of `evaluate.json` for one test, and one row per clip and motion."""

    table: dict[str, Any]
    clips: list[dict[str, Any]]


def summarise(
    corpus: Corpus,
    split: str,
    rows: Sequence[JudgedMotion],
    models: Sequence[str],
    read: Callable[[list[tuple[str, str, str]]], list[dict[str, Ratio]]],
    seed: int,
) -> Summary:
    """Add up the clips of one split.

    Args:
        rows: the results of `judge_clip`, for all clips of the corpus.
        models: names of the students among the rows.
        read: lip-reads motions; called for the best style of each unseen speaker.
        seed: seed of the bootstrap.
    """
    speaker_of = {clip.id: clip.speaker for clip in corpus.split(split)}
    mine = [row for row in rows if row[0] in speaker_of]
    table: dict[str, Any] = {}
    per_clip: list[dict[str, Any]] = []
    for name in [*REFERENCE_ROWS, *models]:
        own = [row for row in mine if row[1] == name]
        if not own:
            continue
        chosen = _best_styles(own, speaker_of)
        unread = [row for row in chosen if "lipread_error" not in row[3].ratios]
        if unread:
            ratios = iter(read([(clip, name, style) for clip, _, style, _ in unread]))
            chosen = [
                row if "lipread_error" in row[3].ratios else (*row[:3], row[3].with_ratios(next(ratios)))
                for row in chosen
            ]
        table[name] = _values([row[3] for row in chosen], seed)
        per_clip += [{"split": split, "clip": r[0], "row": name, "style": r[2], **clip_row(r[3])} for r in chosen]
        if len(chosen) < len(own):
            table[name]["styles"] = {speaker_of[row[0]]: row[2] for row in chosen}
            shared = [key for key in own[0][3].ratios if all(key in row[3].ratios for row in own)]
            scores = [ClipScores({k: r[3].ratios[k] for k in shared}, r[3].frames, r[3].trimmed) for r in own]
            table[f"{name}{MEAN_STYLE}"] = _known(corpus_scores(scores))
    return Summary(table, per_clip)


def _values(scores: Sequence[ClipScores], seed: int) -> dict[str, Any]:
    return {**_known(corpus_scores(scores)), "interval": _known(corpus_intervals(scores, seed=seed))}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """The values without metrics that no clip has, such as those of phonemes in a corpus without phonemes."""
    return {key: value for key, value in values.items() if value is not None}


def _best_styles(rows: Sequence[JudgedMotion], speaker_of: dict[str, str]) -> list[JudgedMotion]:
    """For each speaker, the clips in the style that has the lowest LVE over that speaker's clips."""
    chosen: list[JudgedMotion] = []
    for speaker in sorted(set(speaker_of.values())):
        styles: dict[str, list[JudgedMotion]] = {}
        for row in rows:
            if speaker_of[row[0]] == speaker:
                styles.setdefault(row[2], []).append(row)
        # a seen speaker's clips are all in one style, the own one; an unseen one's styles all cover the same clips
        best = best_style({style: [row[3] for row in own] for style, own in styles.items()})
        chosen += styles[best]
    return chosen
