"""Run DINet on one sound and one image: AUDIO IMAGE OUTPUT OPENFACE. Runs in its checkout, with its own Python.

DINet dubs a video whose landmarks OpenFace has detected. So the image is made into a video of one second; OPENFACE is
the path of OpenFace's program FeatureExtraction. Needs ffmpeg and a GPU. Not tested with the real program.
"""

import os
import shutil
import subprocess
import sys
import tempfile


def main(audio, image, output, openface):
    with tempfile.TemporaryDirectory() as work:
        video, made = os.path.join(work, "still.mp4"), os.path.join(work, "made")
        even = "scale=trunc(iw/2)*2:trunc(ih/2)*2"
        ffmpeg("-loop", "1", "-i", image, "-t", "1", "-r", "25", "-vf", even, "-pix_fmt", "yuv420p", "-crf", "5", video)
        # Write only the 2D landmarks: DINet reads the columns by position.
        subprocess.check_call([openface, "-f", video, "-2Dfp", "-out_dir", work])
        subprocess.check_call(
            [
                sys.executable, "inference.py", "--mouth_region_size=256", "--source_video_path=" + video,
                "--source_openface_landmark_path=" + os.path.join(work, "still.csv"), "--driving_audio_path=" + audio,
                "--pretrained_clip_DINet_path=./asserts/clip_training_DINet_256mouth.pth", "--res_video_dir=" + made,
            ]
        )  # fmt: skip
        shutil.copyfile(os.path.join(made, "still_facial_dubbing.mp4"), output)


def ffmpeg(*words):
    subprocess.check_call(["ffmpeg", "-y", "-loglevel", "error", *words])


if __name__ == "__main__":
    main(*(os.path.abspath(word) for word in sys.argv[1:]))
