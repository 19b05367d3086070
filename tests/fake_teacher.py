"""A small teacher, run as a program of its own: AUDIO IMAGE OUTPUT [MODE], where MODE may ask for one of its failures.

It opens a mouth in the lower middle of the picture with the loudness of the sound. Each call adds a line to calls.txt
in the folder it runs in.
"""

import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

SIZE = 128
FACE_BOX, MOUTH_BOX = (16, 16, 112, 112), (40.0, 70.0, 88.0, 118.0)


def still() -> np.ndarray:
    """A face, as far as any measure here is concerned: (SIZE, SIZE, 3) uint8 RGB."""
    blocks = np.random.default_rng(0).integers(40, 220, (16, 16, 3)).astype(np.uint8)
    image = cv2.resize(blocks, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image[70:118, 40:88] = 180
    return image


def speak(audio: np.ndarray, image: np.ndarray, fps: float, *, opening: float = 1.0) -> list[np.ndarray]:
    """Pictures of an image that speaks sound at 16 kHz."""
    pictures = []
    for t in range(int(len(audio) / 16000 * fps)):
        loudness = np.abs(audio[int(t / fps * 16000) : int((t + 1) / fps * 16000)]).mean()
        picture = image.copy()
        height = max(1, round(40 * opening * min(1.0, 3 * loudness)))
        cv2.ellipse(picture, (64, 94), (14, height // 2), 0, 0, 360, (30, 10, 10), -1)
        pictures.append(picture)
    return pictures


def write(path: Path, pictures: list[np.ndarray], fps: float) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    audio_path, image_path, output, mode = (*sys.argv[1:], "good")[:4]
    with open("calls.txt", "a") as calls:
        calls.write(f"{audio_path}\n")
    audio, rate = soundfile.read(audio_path, dtype="float32")
    assert (rate, audio.ndim) == (16000, 1)
    image = cv2.cvtColor(cv2.imread(image_path), cv2.COLOR_BGR2RGB)
    path, fps = Path(output), 25.0
    if mode == "refuses":
        print("half way there", flush=True)
        sys.exit("no CUDA device")
    if mode == "hangs":
        print("loading weights", flush=True)
        time.sleep(600)
    if mode == "link":
        Path("private.mp4").write_bytes(b"a file of the user")
        path.symlink_to(Path("private.mp4").resolve())
        return
    if mode == "once" and Path("calls.txt").read_text().count("\n") == 2:
        sys.exit("the second clip is hard")
    if mode == "folder":
        path = path / "2026_01_02_03.04.05.mp4"
    if mode == "nothing":
        return
    if mode == "faster":
        fps = 62.5
    pictures = speak(audio, image, fps, opening=0.0 if mode == "static" else 1.0)
    pictures = pictures[: len(pictures) // 2] if mode == "short" else pictures
    pictures = [picture[:, ::-1].copy() for picture in pictures] if mode == "moved" else pictures
    pictures = [picture[:120, :120].copy() for picture in pictures] if mode == "cropped" else pictures
    write(path, pictures, fps)
    if mode == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


if __name__ == "__main__":
    main()
