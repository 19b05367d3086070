"""The side-by-side video: true motion, students and the 2D teacher, with captions."""

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.phonemes import SILENCE, Phoneme

HEADER, FOOTER = 30, 58  # pixels above and below the pictures
PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (150, 150, 150)


def side_by_side(
    panels: Mapping[str, np.ndarray | None], text: str, phonemes: Sequence[Phoneme], fps: float
) -> Iterator[np.ndarray]:
    """Frames of one clip: the panels with their titles, below them the sentence and the current phonemes.

    Args:
        panels: title → pictures (T, H, W, 3) uint8, all of the same size; None leaves the panel empty. The first must
            not be None and determines the number of frames; a shorter panel repeats its last picture.
        text: the sentence.
        phonemes: the phonemes with their times; may be empty.
        fps: frame rate of all panels.

    Returns:
        uint8 (HEADER + H + FOOTER, W · panels, 3), both sizes even.
    """
    first = next(iter(panels.values()))
    assert first is not None
    frames, height, width = first.shape[:3]
    title, small, caption = _font(16), _font(13), _font(17)
    canvas = Image.new("RGB", (_even(width * len(panels)), _even(HEADER + height + FOOTER)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, (name, pictures) in enumerate(panels.items()):
        middle = width * column + width // 2
        draw.text((middle, HEADER // 2), name, INK, title, anchor="mm")
        if pictures is None:
            draw.text((middle, HEADER + height // 2), "not made for this clip", FAINT, small, anchor="mm")
    draw.text((canvas.width // 2, HEADER + height + 17), text, INK, caption, anchor="mm")
    still = np.array(canvas)
    for t in range(frames):
        frame = still.copy()
        for column, pictures in enumerate(panels.values()):
            if pictures is not None:
                picture = pictures[min(t, len(pictures) - 1)]
                frame[HEADER : HEADER + height, width * column : width * (column + 1)] = picture
        strip = frame[HEADER + height + 32 :]
        strip[:] = _spoken(phonemes, (t + 0.5) / fps, strip.shape[1], strip.shape[0])
        yield frame


def at_rate(pictures: np.ndarray, from_fps: float, to_fps: float, frames: int) -> np.ndarray:
    """Resample pictures (T, …) to another frame rate: each new frame shows the picture at the middle of its time."""
    shown = ((np.arange(frames) + 0.5) * from_fps / to_fps).astype(int)
    return pictures[np.minimum(shown, len(pictures) - 1)]


def fitted(pictures: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale pictures (T, h, w, 3) to cover (height, width), and crop them at the centre."""
    scale = max(height / pictures.shape[1], width / pictures.shape[2])
    size = (round(pictures.shape[2] * scale), round(pictures.shape[1] * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.stack(
        [
            np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))[
                top : top + height, left : left + width
            ]
            for picture in pictures
        ]
    )


def sound(audio: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """The sound (samples,) of a clip, cut or padded with silence to the duration of its frames."""
    samples = round(frames / fps * SAMPLE_RATE)
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))


def _spoken(phonemes: Sequence[Phoneme], time: float, width: int, height: int) -> np.ndarray:
    """Draw the current phoneme in the middle, with its neighbours left and right."""
    strip = Image.new("RGB", (width, height), PAPER)
    draw, step = ImageDraw.Draw(strip), 44
    spoken = [phoneme for phoneme in phonemes if phoneme.name != SILENCE]
    now = next((i for i, phoneme in enumerate(spoken) if phoneme.start <= time < phoneme.end), None)
    if now is not None:
        for i in range(max(0, now - 4), min(len(spoken), now + 5)):
            place = (width // 2 + step * (i - now), height // 2)
            draw.text(place, spoken[i].name.lower(), INK if i == now else FAINT, _font(18 if i == now else 13), "mm")
    return np.asarray(strip)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, included in Matplotlib."""
    return ImageFont.truetype(f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _even(length: int) -> int:
    return length + length % 2
