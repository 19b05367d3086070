"""Run PC-AVS on one sound and one image: AUDIO IMAGE OUTPUT. Runs in its checkout, with its own Python (3.6 or newer).

PC-AVS reads a line of paths, which must not contain spaces, and takes the pose from the image if no other is given. It
makes no picture for the first two and the last two frames, where its sound windows end. The pictures next to them are
repeated; otherwise the video would be 80 ms early. The image should be cropped as in VoxCeleb2. Needs ffmpeg and a GPU.
Not tested with the real program.
"""

import os
import shutil
import subprocess
import sys
import tempfile

# As in its experiments/demo_vox.sh.
OPTIONS = """--name demo --list_start 0 --list_end 1 --dataset_mode voxtest --netG modulate --netA resseaudio
--netA_sync ressesync --netD multiscale --netV resnext --netE fan --num_inputs 1 --gpu_ids 0 --clip_len 1 --batchSize 8
--model av --style_dim 2560 --nThreads 4 --norm_D spectralsyncbatch --input_id_feature --generate_interval 1
--style_feature_loss --use_audio 1 --noise_pose --driving_pose --gen_video --generate_from_audio_only"""


def main(audio, image, output):
    with tempfile.TemporaryDirectory() as work:
        name = os.path.basename(work)  # unique to this run: results/ is shared
        face = os.path.join(work, name)
        os.mkdir(face)
        ffmpeg("-i", image, "-vf", "scale=224:224", "-q:v", "1", os.path.join(face, "000000.jpg"))
        sound, table = os.path.join(work, "speech.wav"), os.path.join(work, "one.csv")
        shutil.copyfile(audio, sound)
        with open(table, "w") as file:
            file.write(" ".join([face, "1", "None", "1", sound, "None", "0", "None"]) + "\n")
        results = os.path.join("results", f"id_{name}_pose_{name}_audio_speech")
        try:
            subprocess.check_call([sys.executable, "-u", "inference.py", "--meta_path_vox", table, *OPTIONS.split()])
            made = os.path.join(results, "G_Fix_Pose_.mp4")
            if not os.path.isfile(made):  # it prints its errors but exits with status 0
                sys.exit("PC-AVS made no " + made)
            repeated = "tpad=start=2:start_mode=clone:stop=2:stop_mode=clone"
            ffmpeg("-i", made, "-vf", repeated, "-an", "-crf", "10", output)
        finally:
            shutil.rmtree(results, ignore_errors=True)


def ffmpeg(*words):
    subprocess.check_call(["ffmpeg", "-y", "-loglevel", "error", *words])


if __name__ == "__main__":
    main(*(os.path.abspath(word) for word in sys.argv[1:]))
