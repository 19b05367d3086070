"""What a student does with recordings of real people.

    python -m benchmarks.real_speech FOLDER [-o out/real_speech] [--model NAME] [--corpus data/corpus] [--style auto]
                                     [--smooth HERTZ] [--gain jaw=1.3,lips=1.1]

FOLDER holds sounds and `set.json`, a list of {"id", "wav", "text", "phonemes": ["B", "AA", …]}, or with times
{"phonemes_with_times": [[start, end, "B"], …]} in seconds. Phonemes are the 39 of ARPAbet without stress. Where times
are missing the phoneme head aligns them, which needs a speech encoder as published and a head that fits it.

Printed and written to -o: a Markdown table, the same as JSON, and a video of each recording. Measures: phoneme error of
the recogniser; gaps of the lips at p b m and at open vowels, jitter, acceleration over speed
(`metrics/articulation.py`); the lag that SyncNet3D finds, and what it finds if the sound is shifted by ± 100 and ± 200
ms (`evaluation/real_speech.py`). The last row is the true motion of the corpus's test clips: the motion should not
tremble more than it (a smaller or equal acceleration over speed), nor open less. `--smooth` and `--gain` are those of
`learn2talk animate`.
"""

import argparse
from pathlib import Path

import torch

from learn2talk.api import export, load
from learn2talk_core.animation.control import controlled, with_phonemes
from learn2talk_core.animation.settings import Control, parse_gains
from learn2talk_core.evaluation.motion_sync import open_scorer
from learn2talk_core.evaluation.real_speech import judge_recording, judged_json, read_set, table, true_motion
from learn2talk_core.models.phoneme_head import SpeechRecogniser, load_recogniser
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.run.files import write_json
from learn2talk_core.run.paths import CORPUS
from learn2talk_core.run.progress import progress

WEIGHTS = Path("weights")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder")
    parser.add_argument("-o", "--out", default="out/real_speech", help="default: %(default)s")
    parser.add_argument("--model", help="folder or name of a student (default: that of the last run, or the packaged)")
    parser.add_argument("--corpus", default=CORPUS, help="default: %(default)s")
    parser.add_argument("--style", default="auto", help="default: %(default)s, the training speaker with this voice")
    parser.add_argument("--encoder", default=str(WEIGHTS / "speech_encoder"), help="default: %(default)s")
    parser.add_argument(
        "--head", default=str(WEIGHTS / "phoneme_head"), help="default: %(default)s; none: no recognition"
    )
    parser.add_argument("--smooth", type=float, help="as for learn2talk animate")
    parser.add_argument("--gain", default="", help="as for learn2talk animate")
    parser.add_argument("--no-lag", action="store_true", help="without SyncNet3D")
    parser.add_argument("--no-video", action="store_true")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recordings, out = read_set(arguments.folder), Path(arguments.out)
    animator = load(arguments.model, corpus=arguments.corpus)
    recogniser = None if arguments.head == "none" else open_recogniser(arguments.encoder, arguments.head)
    scorer = None if arguments.no_lag else open_scorer(corpus=arguments.corpus)
    control, judged = Control(parse_gains(arguments.gain), arguments.smooth), []
    for recording in progress(recordings, "recordings", unit="clip"):
        speech = animator.animate(recording.wave, style=arguments.style)
        animation = controlled(with_phonemes(speech, recording.phonemes or ()), control)
        judged.append(judge_recording(recording, animation, recogniser, scorer))
        if not arguments.no_video:
            export(animation, out, name=recording.id)
    corpus = animator.corpus
    truth = true_motion(corpus) if corpus is not None and corpus.split("test_seen", "test_unseen") else None
    print(table(judged, truth))
    out.mkdir(parents=True, exist_ok=True)
    (out / "real_speech.md").write_text(table(judged, truth))
    about = {
        "model": dict(animator.about),
        "set": Path(arguments.folder).name,
        "smooth": arguments.smooth,
        "gain": arguments.gain,
    }
    write_json(out / "real_speech.json", judged_json(judged, **about, true_motion=truth))


def open_recogniser(encoder: str, head: str) -> SpeechRecogniser:
    return load_recogniser(load_speech_encoder(encoder), head, made_by="dvc repro phoneme_head in pretraining/")


if __name__ == "__main__":
    main()
