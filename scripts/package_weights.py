"""Package the networks of a finished run, in half precision and with their model cards.

    python -m scripts.package_weights                         # pretraining/data/models → weights/
    python -m scripts.package_weights --student [NAME]        # data/models/students/NAME → the installed package

The first needs a finished `dvc repro` in pretraining/; the default pipeline then reads weights/. The second needs a
finished `dvc repro` in the root; `learn2talk animate` and `score` then work without a run. It packages the student
(learn2talk if no name is given), the corpus's faces and voices, the phoneme head with its speech encoder, which align a
transcript, and the SyncNet3D of the metric, for whose weights the confidence of `score` must be calibrated
(`python -m scripts.calibrate_score`).
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from learn2talk_core.animation.animator import voice_clips
from learn2talk_core.checkpoints.pack import pack
from learn2talk_core.corpus.format import open_corpus, write_excerpt
from learn2talk_core.run.config import read_yaml
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.imports import ROOT
from learn2talk_core.run.own_folder import MANIFEST, PACK, own_folder
from learn2talk_core.run.paths import (
    CORPUS,
    MODELS,
    PACKAGED,
    PACKAGED_CORPUS,
    PACKAGED_PHONEME_HEAD,
    PACKAGED_SPEECH_ENCODER,
    PACKAGED_STUDENTS,
    PACKAGED_SYNCNET3D,
    STUDENT,
    STUDENTS,
    SYNCNET3D,
    TALKING_VIDEO,
    is_nothing,
)
from learn2talk_core.run.weights import read_origin
from learn2talk_core.video.talking_video import (
    SAMPLES_PER_FRAME,
    VIDEO_FPS,
    EncodedFilm,
    TalkingVideo,
    open_talking_video,
    write_talking_video,
)
from learn2talk_core.video.video_file import encode_video

TRAINED = ("lipreader/metric", "lipreader/loss", "teacher", "phoneme_head")
STILLS = "stills"
MOST_MB = {"weights": 50, "package": 65}  # megabytes; a wheel may have 80 with its code and data
QUANTISER = 5  # of the stills: their loss cannot be seen, and a teacher repeats it in every frame


def package_weights(run: Path, out: Path) -> None:
    """Write the networks that `run`, the folder of the second pipeline, has trained, and the still images, to `out`."""
    own_encoder = is_nothing(read_yaml(run / "params.yaml")["speech_encoder"]["checkpoint"])
    for name in (*TRAINED, *(["speech_encoder"] if own_encoder else [])):
        pack(f"{MODELS}/{name}", out / name, run, half=True)
    write_talking_video(out / STILLS, still_films(open_talking_video(run / TALKING_VIDEO)))
    refuse_larger(out, MOST_MB["weights"])


def still_films(video: TalkingVideo) -> Iterator[EncodedFilm]:
    """For each held-out face a film of one frame: the first one of its first film, with the mouth closed."""
    for clip in {clip.speaker: clip for clip in reversed(video.split("validation"))}.values():
        frame, silence = video.frames(clip)[:1], np.zeros(SAMPLES_PER_FRAME, np.float32)
        alone = replace(clip, id=clip.speaker, text="", phonemes=(), frames=1, samples=SAMPLES_PER_FRAME)
        yield alone, encode_video(frame, VIDEO_FPS, qp=QUANTISER), silence


def package_student(run: Path, name: str) -> None:
    """Write a student of `run`, the project's root, and what the commands need besides, to the installed package."""
    pack(f"{STUDENTS}/{name}", PACKAGED_STUDENTS / name, run, half=True)
    pack(f"{SYNCNET3D}/metric", PACKAGED_SYNCNET3D, run)
    corpus = open_corpus(run / CORPUS)
    voices = voice_clips(corpus, corpus.train_speakers)
    write_excerpt(PACKAGED_CORPUS, corpus, [clip for clips in voices.values() for clip in clips])
    package_recogniser(run)
    refuse_larger(PACKAGED, MOST_MB["package"])


def package_recogniser(run: Path) -> None:
    """Copy the run's phoneme head and the speech encoder that it reads, packaged weights both, to the package."""
    experts = read_yaml(run / "params.yaml")["experts"]
    if is_nothing(experts["phoneme_head"]):
        return
    for name, place in (("speech_encoder", PACKAGED_SPEECH_ENCODER), ("phoneme_head", PACKAGED_PHONEME_HEAD)):
        source = run / experts[name]
        if read_origin(source, name) is None:
            fix = "Pack it: learn2talk pack."
            raise BadInput(source, expected="packaged weights (learn2talk.json)", found="none", fix=fix)
        with own_folder(place, PACK) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))


def refuse_larger(folder: Path, most: int) -> None:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    if size > most:
        raise BadInput(folder, expected=f"at most {most} MB", found=f"{size:.1f} MB", fix="Train smaller networks.")
    print(f"{folder}: {size:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--student", nargs="?", const=Path(STUDENT).name, metavar="NAME", help="package this student")
    arguments = parser.parse_args()
    try:
        if arguments.student:
            package_student(ROOT, arguments.student)
        else:
            package_weights(ROOT / "pretraining", ROOT / "weights")
    except BadInput as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
