"""`learn2talk import-checkpoint`, `export-checkpoint` and `pack` on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from learn2talk.cli import main
from learn2talk_core.models.expnet import ExpNet, load_expnet
from learn2talk_core.models.lipreader import load_units
from learn2talk_core.models.posevae import PoseVAE, load_posevae
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.sync_expert2d import SyncExpert2D, load_expert
from learn2talk_core.models.syncnet2d import SyncNet, load_syncnet
from learn2talk_core.models.wav2lip import Wav2Lip, load_generator
from learn2talk_core.run.errors import BadInput
from tests.checkpoints.files import save
from tests.checkpoints.test_faceformer import small as faceformer
from tests.checkpoints.test_lipreader import small as lipreader
from tests.checkpoints.test_wav2vec2 import same, tiny
from tests.toy import toy_corpus


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_wav2vec2_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = tiny()
    torch.save(encoder.state_dict(), "weights.pt")
    assert main(["import-checkpoint", "weights.pt", "--as", "wav2vec2"]) == 0
    assert capsys.readouterr().out == (
        "checkpoints/wav2vec2: wav2vec 2.0, 2 layers of width 32, 0.0 million parameters\n"
        "use it: dvc exp run -S experts.speech_encoder=checkpoints/wav2vec2\n"
    )
    assert same(load_speech_encoder("checkpoints/wav2vec2"), encoder)
    assert main(["export-checkpoint", "checkpoints/wav2vec2", "--as", "wav2vec2", "back"]) == 0
    assert same(load_speech_encoder("back"), encoder)


def test_faceformer_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(faceformer(tmp_path, vertices=64, styles=2))
    toy_corpus(tmp_path / "corpus")
    assert main(["import-checkpoint", path, "--as", "faceformer"]) == 1
    assert "Name its corpus: --corpus FOLDER" in capsys.readouterr().err
    assert main(["import-checkpoint", path, "--as", "faceformer", "--corpus", "corpus", "--out", "ours"]) == 0
    assert (
        "FaceFormer of 64 vertices and 2 styles at 30 frames per second, alignment vocaset" in capsys.readouterr().out
    )
    assert load_student("ours", made_by="the test")[1] == ("A", "B")
    assert main(["export-checkpoint", "ours", "--as", "faceformer", "back.pth"]) == 0
    assert "build Wav2Vec2Model from back.pth.config.json" in capsys.readouterr().out
    before, after = (torch.load(name, weights_only=True) for name in (path, "back.pth"))
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_wav2lip_and_its_expert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    generator, expert = Wav2Lip(), SyncExpert2D()
    save(tmp_path / "wav2lip.pth", generator.state_dict(), global_step=3)
    save(tmp_path / "lipsync_expert.pth", expert.state_dict())
    assert main(["import-checkpoint", "wav2lip.pth", "--as", "wav2lip"]) == 0
    assert main(["import-checkpoint", "lipsync_expert.pth", "--as", "lipsync-expert"]) == 0
    assert "-S experts.sync_expert=checkpoints/lipsync-expert" in capsys.readouterr().out
    assert load_generator("checkpoints/wav2lip")[1].bgr
    assert load_expert("checkpoints/lipsync-expert").official
    for kind, name in (("wav2lip", "wav2lip.pth"), ("lipsync-expert", "lipsync_expert.pth")):
        assert main(["export-checkpoint", f"checkpoints/{kind}", "--as", kind, "back.pth"]) == 0
        before, after = (torch.load(file, weights_only=True)["state_dict"] for file in (name, "back.pth"))
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert list(before) == list(after)


def test_lipreader_with_its_files_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = lipreader(tmp_path / "a", {"labels_type": "unigram5000", "char_list": None})
    (tmp_path / "a/model.json").rename(tmp_path / "conf.json")
    (tmp_path / "list.txt").write_text("".join(f"▁{c} 1\n" for c in "ABCDEF"))
    words = ["import-checkpoint", "list.txt", "conf.json", str(weights), "--as", "lipreader", "--out", "ours"]
    assert main(words) == 0
    assert "lip reader of 8 units" in capsys.readouterr().out
    assert load_units("ours") == ("<blank>", *(f"▁{c}" for c in "ABCDEF"), "<eos>")
    assert main(["export-checkpoint", "ours", "--as", "lipreader", "back"]) == 0
    assert sorted(file.name for file in Path("back").iterdir()) == ["manifest.json", "model.json", "model.pth"]


def test_networks_that_are_used_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    makers = {"syncnet": SyncNet, "expnet": ExpNet, "posevae": PoseVAE}
    loaders = {"syncnet": load_syncnet, "expnet": load_expnet, "posevae": load_posevae}
    uses = {
        "syncnet": "learn2talk score-video VIDEO --syncnet checkpoints/syncnet",
        "expnet": "models.expnet.load_expnet('checkpoints/expnet')",
        "posevae": "learn2talk animate SPEECH --head 1 --head-model checkpoints/posevae",
    }
    torch.manual_seed(0)
    for kind, make in makers.items():
        network = make()
        torch.save({"model": network.state_dict()} if kind != "syncnet" else network.state_dict(), f"{kind}.pth")
        assert main(["import-checkpoint", f"{kind}.pth", "--as", kind]) == 0
        said, use = capsys.readouterr().out.splitlines()
        assert said.startswith(f"checkpoints/{kind}: {make.__name__}, ")
        assert use == f"use it: {uses[kind]}"
        again = loaders[kind](f"checkpoints/{kind}").state_dict()
        assert all(torch.equal(value, again[key]) for key, value in network.state_dict().items())
    everything = {}
    for kind, prefix in (("expnet", "audio2exp."), ("posevae", "audio2pose.")):
        state = loaders[kind](f"checkpoints/{kind}").state_dict()
        everything |= {prefix + key: value.clone() for key, value in state.items()}
    save_file(everything, "SadTalker_V0.0.2_256.safetensors")
    assert main(["import-checkpoint", "SadTalker_V0.0.2_256.safetensors", "--as", "expnet", "--out", "both"]) == 0
    assert "both: ExpNet, " in capsys.readouterr().out
    with pytest.raises(BadInput, match="the weights of PoseVAE, found no"):
        load_posevae("both")


def test_networks_that_are_others_or_broken_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ExpNet().state_dict()
    torch.save({"model": state}, "expnet.pth")
    assert main(["import-checkpoint", "expnet.pth", "--as", "posevae"]) == 1
    assert "expected the weights of PoseVAE, found no" in capsys.readouterr().err
    torch.save({"model": state | {"mapping1.bias": torch.full((64,), float("nan"))}}, "nan.pth")
    assert main(["import-checkpoint", "nan.pth", "--as", "expnet"]) == 1
    assert "nan.pth: mapping1.bias: expected finite weights, found NaN or infinity" in capsys.readouterr().err
    Path("page.pth").write_text("<html>quota exceeded</html>")
    for kind in ("syncnet", "expnet", "posevae"):
        assert main(["import-checkpoint", "page.pth", "--as", kind]) == 1
        assert "page.pth: expected a file of weights, found a web page" in capsys.readouterr().err
    assert main(["import-checkpoint", "a.pth", "b.pth", "--as", "syncnet"]) == 1
    assert "found a.pth, b.pth. Takes: syncnet_v2.model." in capsys.readouterr().err
    with pytest.raises(SystemExit):  # this kind cannot be exported: it would write what was read
        main(["export-checkpoint", "x", "--as", "expnet", "y"])
    assert not Path("checkpoints").exists()


def test_wrong_files_leave_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("page.pth").write_text("<html>quota exceeded</html>")
    for kind in ("wav2vec2", "faceformer", "wav2lip", "lipsync-expert"):
        assert main(["import-checkpoint", "page.pth", "--as", kind]) == 1
        assert "page.pth: expected a file of weights, found a web page" in capsys.readouterr().err
    assert main(["import-checkpoint", "a.pth", "b.pth", "--as", "wav2lip"]) == 1
    assert "--as wav2lip: expected one file of weights, found a.pth, b.pth. Takes:" in capsys.readouterr().err
    assert main(["export-checkpoint", "nowhere", "--as", "faceformer", "out.pth"]) == 1
    assert "nowhere/model.json: expected a file, found nothing" in capsys.readouterr().err
    assert main(["pack", "data/models/students/learn2talk", "out"]) == 1
    assert "dvc.lock: expected a finished run" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["page.pth"]


def test_folders_of_others_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("d").mkdir()
    Path("d/thesis.tex").write_text("years of work")
    Path("file").write_text("mine")
    Path("link").symlink_to("d")
    commands = [
        ["import-checkpoint", "none.pt", "--as", "wav2vec2", "--out"],
        ["export-checkpoint", "none", "--as", "wav2vec2"],
        ["export-checkpoint", "none", "--as", "lipreader"],
        ["prepare-fixtures", "folder"],
        ["pack", "none"],
    ]
    for words in commands:
        for place, found in (("d", "something else, which would be lost"), ("link", "something"), ("file", "a file")):
            assert main([*words, place]) == 1
            err = capsys.readouterr().err
            assert f"{place}: expected a folder that learn2talk {words[0]} made, or none, found {found}" in err
    for kind in ("faceformer", "wav2lip", "lipsync-expert"):
        assert main(["export-checkpoint", "none", "--as", kind, "d"]) == 1
        assert "d: expected a file to write, or nothing, found a folder" in capsys.readouterr().err
    assert sorted(str(path) for path in Path().rglob("*")) == ["d", "d/thesis.tex", "file", "link"]
    assert Path("file").read_text() == "mine"


def test_what_a_command_made_it_replaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(tiny().state_dict(), "weights.pt")
    for _ in range(2):
        assert main(["import-checkpoint", "weights.pt", "--as", "wav2vec2", "--out", "ours"]) == 0
        assert main(["export-checkpoint", "ours", "--as", "wav2vec2", "theirs"]) == 0
    assert main(["export-checkpoint", "ours", "--as", "wav2vec2", "ours"]) == 1
    assert "ours: expected a folder that learn2talk export-checkpoint made, or none" in capsys.readouterr().err
    Path("theirs/notes.txt").write_text("mine")
    assert main(["export-checkpoint", "ours", "--as", "wav2vec2", "theirs"]) == 1
    assert "found notes.txt there, which it did not make and which would be lost" in capsys.readouterr().err
    assert Path("theirs/notes.txt").read_text() == "mine"


LIMITED = """
import resource, signal, sys
from learn2talk.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), "weights.pt")
    assert main(["import-checkpoint", "weights.pt", "--as", "wav2vec2", "--out", "ours"]) == 0
    student = str(faceformer(tmp_path, vertices=64, styles=2))
    toy_corpus(tmp_path / "corpus")
    assert main(["import-checkpoint", student, "--as", "faceformer", "--corpus", "corpus", "--out", "student"]) == 0
    before = sorted(Path().iterdir())
    for words in (
        ["import-checkpoint", "weights.pt", "--as", "wav2vec2", "--out", "new"],
        ["export-checkpoint", "ours", "--as", "wav2vec2", "new"],
        ["export-checkpoint", "student", "--as", "faceformer", "new.pth"],
    ):
        run = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
        assert f"learn2talk {words[0]}: new" in run.stderr.replace(f"{Path.cwd()}/", "")
        assert "expected to be able to write it, found " in run.stderr
        assert sorted(Path().iterdir()) == before
