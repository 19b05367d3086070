"""Show a corpus: a contact sheet with phonemes, and a video with sound."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from learn2talk_core.corpus.format import Clip, Corpus, open_corpus
from learn2talk_core.corpus.phonemes import SILENCE
from learn2talk_core.render.camera import Camera
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.side_by_side import side_by_side
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.progress import progress
from learn2talk_core.video.video_file import write_video

CLOSE_UP = 90.0  # mm, width of the close-up of the mouth


def show_corpus(folder: str | Path, out: str | Path, clip_id: str | None = None) -> list[Path]:
    """Write a contact sheet and a video with sound of one clip.

    Args:
        folder: a corpus in the canonical format.
        out: folder for the two files.
        clip_id: the clip to show; None for the first one.

    Returns:
        The paths of both files.
    """
    corpus = open_corpus(folder)
    clip = _find(corpus, clip_id)
    sheet, video = Path(out) / f"{clip.id}.png", Path(out) / f"{clip.id}.mp4"
    write_contact_sheet(sheet, corpus, clip)
    cameras = {
        f"speaker {clip.speaker}": portrait_camera(corpus.topology, corpus.template(clip.speaker)),
        "mouth": close_up(corpus, clip.speaker),
    }
    panels = {name: _filmed(corpus, clip, camera) for name, camera in cameras.items()}
    write_video(video, side_by_side(panels, clip.text, clip.phonemes, corpus.fps), corpus.fps, corpus.audio(clip))
    return [sheet, video]


def write_contact_sheet(path: str | Path, corpus: Corpus, clip: Clip, columns: int = 8, rows: int = 3) -> None:
    """Write a PNG of frames spread over a clip, face above mouth, each titled with its time and phoneme."""
    frames, names = phoneme_frames(clip, corpus.fps, columns * rows)
    vertices = np.concatenate([corpus.vertices(clip, frames=slice(frame, frame + 1)) for frame in frames])
    camera = portrait_camera(corpus.topology, corpus.template(clip.speaker))
    faces = portraits(vertices, corpus.topology, camera, 200, 200)
    mouths = portraits(vertices, corpus.topology, close_up(corpus, clip.speaker), 200, 200)
    figure = Figure(figsize=(1.35 * columns, 2.9 * rows + 0.6), dpi=120)
    figure.suptitle(f"{clip.id} ({clip.speaker}): {clip.text}", fontsize=10)
    for i, (frame, name) in enumerate(zip(frames, names, strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.imshow(np.concatenate([faces[i], mouths[i]]))
        axes.set_title(f"{frame / corpus.fps:.2f} s   {name or 'silence'}", fontsize=8, pad=3)
        axes.axis("off")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.65 / figure.get_figheight(), wspace=0.04)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})


def phoneme_frames(clip: Clip, fps: float, count: int) -> tuple[list[int], list[str]]:
    """Choose `count` phonemes spread over the clip; return their middle frames and their names.

    If the phonemes are not known, the frames are evenly spread over the clip, and the names are empty.
    """
    if not clip.phonemes:
        return np.linspace(0, clip.frames - 1, count).round().astype(int).tolist(), [SILENCE] * count
    chosen = np.linspace(0, len(clip.phonemes) - 1, count).round().astype(int)
    middles = [(clip.phonemes[i].start + clip.phonemes[i].end) / 2 for i in chosen]
    frames = [min(round(middle * fps), clip.frames - 1) for middle in middles]
    return frames, [clip.phonemes[i].name for i in chosen]


def close_up(corpus: Corpus, speaker: str) -> Camera:
    """A camera on the mouth of a speaker."""
    x, y, z = corpus.template(speaker, "lips").mean(axis=0).tolist()
    return Camera(target=(x, y, z), extent=CLOSE_UP / corpus.mm_per_unit, distance=600 / corpus.mm_per_unit)


def _filmed(corpus: Corpus, clip: Clip, camera: Camera, size: int = 400, chunk: int = 16) -> np.ndarray:
    pictures = []
    for start in progress(range(0, clip.frames, chunk), "rendering", unit=f"{chunk} frames"):
        vertices = corpus.vertices(clip, frames=slice(start, start + chunk))
        pictures.append(portraits(vertices, corpus.topology, camera, size, size, supersample=1))
    return np.concatenate(pictures)


def _find(corpus: Corpus, clip_id: str | None) -> Clip:
    if clip_id is None:
        return corpus.clips[0]
    for clip in corpus.clips:
        if clip.id == clip_id:
            return clip
    some = ", ".join(clip.id for clip in corpus.clips[:5])
    raise BadInput(corpus.folder, expected="a clip that exists", found=repr(clip_id), fix=f"There are {some}, …")
