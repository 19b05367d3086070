"""How near a one-shot teacher can come to the held-out films: the films drawn anew, with what the sound tells.

    cd pretraining && PYTHONPATH=.. python -m benchmarks.teacher_bound

Needs `dvc repro talking_video lipreader` there. The still image is a film's first frame, so that the head does not
move. The rows know less and less of the mouth: its true motion; the motion of the speaker's own style without the
variation that the sound does not determine; the mean of 20 other styles. Then the packaged teacher, with its gain and
with none, and still images: the first frame, the frame that is nearest to all others, and the mean of all frames.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from learn2talk_core.corpus.phonemes import frame_labels
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.datasets.embedded.face_motion import move_face
from learn2talk_core.datasets.embedded.films import act, colours, render_film
from learn2talk_core.datasets.embedded.speakers import make_speaker
from learn2talk_core.datasets.embedded.utterances import Utterance, open_speech
from learn2talk_core.models.lipreader import load_lipreader, read_lips
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.wav2lip import load_generator
from learn2talk_core.run.config import load_params
from learn2talk_core.run.paths import SPEECH
from learn2talk_core.run.progress import progress
from learn2talk_core.statistics.face_videos import best_frame, l1, lower_half_l1
from learn2talk_core.statistics.recognition import viseme_accuracy
from learn2talk_core.video.talking_video import (
    MOUTH_SIZE,
    VIDEO_FPS,
    crop,
    grey,
    open_talking_video,
    pasted,
)
from learn2talk_core.video.video_file import encode_video, read_video
from stages import talking_video
from stages.teacher import READER, VIDEO, VISEMES, HeldOut, held_out, lips_agreement, one_shot_of

STYLES = 20


def drawn_anew(
    said: Sequence[Utterance], number: int, box: tuple[int, int, int, int], params: talking_video.Params
) -> Iterator[tuple[str, np.ndarray]]:
    """Clip `number` of a person with other motions, as faces uint8 (T, 96, 96, 3): see `film_person`."""
    one, face = said[number], load_face()
    speaker = make_speaker(said[0].speaker, params.seed, female=said[0].female)
    template = face.identity(speaker)
    wave, true, shot = act(speaker, template, one, number, params.variation)
    still = dataclasses.replace(shot, sway=np.repeat(shot.sway[:1], len(true), axis=0))
    others = [make_speaker(f"style {index}", params.seed, female=speaker.female) for index in range(STYLES)]
    own, *styles = (
        move_face(style, wave, one.phonemes, VIDEO_FPS, 0.0, np.random.default_rng(0)) for style in (speaker, *others)
    )
    motions = {"true motion": true, "own style": own, f"mean of {STYLES} styles": np.mean(styles, axis=0)}
    skin = colours(np.random.default_rng([speaker.seed, 2]))
    for name, motion in motions.items():
        film = render_film(template, motion.astype(np.float32), skin, still)
        frames, _, _ = read_video(encode_video(film, VIDEO_FPS), name=name)
        yield name, crop(frames, box, 96)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=40, help="held-out clips (default: %(default)s)")
    parser.add_argument("--teacher", default="../weights/teacher", help="folder (default: %(default)s)")
    parser.add_argument("--hears", default="../weights/speech_encoder", help="folder (default: %(default)s)")
    words = parser.parse_args()
    (reader, head), (teacher, inputs) = load_lipreader(READER), load_generator(words.teacher)
    encoder = load_speech_encoder(words.hears).eval()
    clips = held_out(open_talking_video(VIDEO), encoder, words.clips)[1]
    speech, params = open_speech(SPEECH), load_params(talking_video.Params, "talking_video")

    def videos(one: HeldOut) -> Iterator[tuple[str, np.ndarray]]:
        faces = one.face.faces
        number = int(one.clip.id.rpartition("_")[2])
        yield from drawn_anew(speech[one.clip.speaker], number, one.clip.face_box, params)
        for gain in (inputs.gain, 1.0):
            yield f"teacher, gain {gain}", one_shot_of(one, teacher, inputs._replace(gain=gain))
        stills = {"first frame": faces[0], "best frame": best_frame(faces), "mean of the frames": faces.mean(axis=0)}
        for name, image in stills.items():
            yield name, np.broadcast_to(image.round().astype(np.uint8), faces.shape)

    rows, logits, spoken = [], dict[str, list[np.ndarray]](), []
    for one in progress(clips, "clips", unit="clip"):
        left, top, right, bottom = one.face.lips
        lips = (..., slice(top, bottom), slice(left, right), slice(None))
        spoken.append(frame_labels(one.clip.phonemes, one.clip.frames, VIDEO_FPS))
        for name, made in videos(one):
            faces = one.face.faces
            moves = (made != made[0]).any()
            correlation, amplitude = lips_agreement(one, made) if moves else (np.nan, 0.0)
            mouths = crop(grey(pasted(one.frames[0], one.clip.face_box, made)), one.clip.mouth_box, MOUTH_SIZE)
            reading = read_lips(reader, head, mouths).frame_logits
            assert reading is not None, "the judging lip reader has a phoneme for each frame"
            logits.setdefault(name, []).append(reading)
            rows.append((name, lower_half_l1(made, faces), l1(made[lips], faces[lips]), correlation, amplitude))
    table = pd.DataFrame(rows, columns=["video", "l1", "lips", "correlation", "amplitude"])
    table = table.groupby("video", sort=False).mean()
    said = np.concatenate(spoken)
    table["visemes"] = [viseme_accuracy(np.concatenate(logits[name]), said, VISEMES) for name in table.index]
    print(table.round(4).to_string())


if __name__ == "__main__":
    main()
