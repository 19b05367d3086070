"""The wrappers of teachers, with stand-ins for the teachers and for ffmpeg that only record their arguments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "teachers"
# Records its arguments; writes to its last argument a file that names the input.
FFMPEG = """#!{python}
import json, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
open(sys.argv[-1], "w").write("from " + open(sys.argv[sys.argv.index("-i") + 1]).read())
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout, with sound.wav and face.png beside it and a stand-in for ffmpeg in the path."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "sound.wav").write_text("sound")
    (tmp_path / "face.png").write_text("face")
    program(tmp_path / "bin" / "ffmpeg", FFMPEG.format(python=sys.executable, log=str(tmp_path / "ffmpeg.log")))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "checkout"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(checkout: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPTS / name), "../sound.wav", "../face.png", "../out.mp4", *more]
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True)


def asked(checkout: Path) -> list[list[str]]:
    return [json.loads(line)[3:] for line in (checkout.parent / "ffmpeg.log").read_text().splitlines()]


def test_makeittalk(checkout: Path) -> None:
    for folder in ("ckpt", "dump"):
        (checkout / "examples" / folder).mkdir(parents=True)
    (checkout / "examples" / "other.wav").touch()
    (checkout / "examples" / "dump" / "emb.pickle").write_text("embedding")
    (checkout / "examples" / "dump" / "random_val_fl.pickle").touch()
    (checkout / "main_end2end.py").write_text(
        "import glob, os, sys\n"
        "assert sys.argv[1:] == ['--jpg', 'still.jpg', '--amp_pos', '0']\n"
        "assert sorted(os.listdir('examples')) == ['ckpt', 'dump', 'speech.wav', 'still.jpg']\n"
        "assert os.listdir('examples/dump') == ['emb.pickle']\n"
        "open('examples/dump/random_val_fl.pickle', 'w')\n"
        "open('examples/still_pred_fls_speech_audio_embed.mp4', 'w').write(open('examples/speech.wav').read())\n"
    )
    done = run(checkout, "makeittalk.py")
    assert done.returncode == 0, done.stderr
    assert (checkout.parent / "out.mp4").read_text() == "from sound"
    picture, video = asked(checkout)
    assert picture[:2] == ["-i", str(checkout.parent / "face.png")]
    assert video[2:6] == ["-vf", "crop=256:256:256:0", "-an", "-crf"]
    assert sorted(p.name for p in (checkout / "examples").iterdir()) == ["ckpt", "dump", "other.wav"]
    (checkout / "main_end2end.py").write_text("")
    assert "MakeItTalk left 0 videos" in run(checkout, "makeittalk.py").stderr


def test_pc_avs(checkout: Path) -> None:
    (checkout / "inference.py").write_text(
        "import os, sys\n"
        "table = open(sys.argv[sys.argv.index('--meta_path_vox') + 1]).read().split()\n"
        "assert len(table) == 8\n"
        "face, _, pose, _, sound = table[:5]\n"
        "assert os.listdir(face) == ['000000.jpg'] and not os.path.isdir(pose)\n"
        "name = os.path.basename(face)\n"
        "folder = 'results/id_%s_pose_%s_audio_%s' % (name, name, os.path.basename(sound)[:-4])\n"
        "os.makedirs(folder)\n"
        "open(folder + '/G_Fix_Pose_.mp4', 'w').write(open(sound).read())\n"
    )
    done = run(checkout, "pc_avs.py")
    assert done.returncode == 0, done.stderr
    assert (checkout.parent / "out.mp4").read_text() == "from sound"
    assert asked(checkout)[1][2:4] == ["-vf", "tpad=start=2:start_mode=clone:stop=2:stop_mode=clone"]
    assert list((checkout / "results").iterdir()) == []
    (checkout / "inference.py").write_text("")  # like the real program after an error
    done = run(checkout, "pc_avs.py")
    assert done.returncode == 1
    assert "PC-AVS made no results/id_" in done.stderr


def test_dinet(checkout: Path) -> None:
    openface = checkout.parent / "bin" / "FeatureExtraction"
    program(
        openface,
        f"#!{sys.executable}\n"
        "import sys\n"
        "assert sys.argv[1] == '-f' and sys.argv[3:5] == ['-2Dfp', '-out_dir']\n"
        "open(sys.argv[5] + '/still.csv', 'w').write('landmarks')\n",
    )
    (checkout / "inference.py").write_text(
        "import os, sys\n"
        "given = dict(word[2:].split('=') for word in sys.argv[1:])\n"
        "assert open(given['source_openface_landmark_path']).read() == 'landmarks'\n"
        "assert os.path.isfile(given['source_video_path'])\n"
        "os.mkdir(given['res_video_dir'])\n"
        "for name in ('facial_dubbing', 'synthetic_face', 'facial_dubbing_add_audio'):\n"
        "    open('%s/still_%s.mp4' % (given['res_video_dir'], name), 'w').write(name)\n"
    )
    done = run(checkout, "dinet.py", str(openface))
    assert done.returncode == 0, done.stderr
    assert (checkout.parent / "out.mp4").read_text() == "facial_dubbing"
    (checkout / "inference.py").write_text("raise SystemExit('no GPU')")
    assert run(checkout, "dinet.py", str(openface)).returncode != 0
