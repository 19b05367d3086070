"""Run MakeItTalk on a sound and an image: AUDIO IMAGE OUTPUT. Runs in its checkout, with its own Python (3.6 or newer).

MakeItTalk processes every .wav in the folder examples/ and writes a video at 62.5 fps with the input, the result and
the landmarks side by side. So each run gets its own folder with links to the checkout, and the video is cropped to its
middle. Needs ffmpeg. Not tested with the real program.
"""

import os
import shutil
import subprocess
import sys
import tempfile


def main(audio, image, output):
    checkout = os.getcwd()
    with tempfile.TemporaryDirectory() as work:
        for name in os.listdir(checkout):
            if name != "examples":
                os.symlink(os.path.join(checkout, name), os.path.join(work, name))
        examples = os.path.join(work, "examples")
        os.makedirs(os.path.join(examples, "dump"))
        os.symlink(os.path.join(checkout, "examples", "ckpt"), os.path.join(examples, "ckpt"))
        for name in os.listdir(os.path.join(checkout, "examples", "dump")):
            if not name.startswith("random_val_"):  # output of MakeItTalk
                os.symlink(
                    os.path.join(checkout, "examples", "dump", name), os.path.join(examples, "dump", name)
                )  # fmt: skip
        shutil.copyfile(audio, os.path.join(examples, "speech.wav"))
        square = "crop='min(iw,ih)':'min(iw,ih)',scale=256:256"
        ffmpeg("-i", image, "-vf", square, "-q:v", "1", os.path.join(examples, "still.jpg"))
        # Without head motion, which the lip reader does not need.
        subprocess.check_call(
            [sys.executable, "main_end2end.py", "--jpg", "still.jpg", "--amp_pos", "0"], cwd=work
        )  # fmt: skip
        made = [name for name in os.listdir(examples) if name.startswith("still_pred_fls_") and name.endswith(".mp4")]
        if len(made) != 1:
            sys.exit(f"MakeItTalk left {len(made)} videos in examples/")
        ffmpeg("-i", os.path.join(examples, made[0]), "-vf", "crop=256:256:256:0", "-an", "-crf", "10", output)


def ffmpeg(*words):
    subprocess.check_call(["ffmpeg", "-y", "-loglevel", "error", *words])


if __name__ == "__main__":
    main(*(os.path.abspath(word) for word in sys.argv[1:]))
