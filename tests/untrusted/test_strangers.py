"""Every reader of untrusted files: no code in a file is run, and a damaged file is refused or read correctly."""

import ast
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.checkpoints.faceformer import import_faceformer
from learn2talk_core.checkpoints.lipreader import import_lipreader
from learn2talk_core.checkpoints.wav2lip import import_sync_expert, import_wav2lip
from learn2talk_core.checkpoints.wav2vec2 import import_wav2vec2
from learn2talk_core.checkpoints.whisper import import_whisper
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.motion_file import read_mouth
from learn2talk_core.datasets.folder import read_clip_table
from learn2talk_core.datasets.folder import read_motion as read_folder_motion
from learn2talk_core.datasets.vl import read_frames
from learn2talk_core.evaluation.lag_confidence import load_calibration
from learn2talk_core.mesh.files import read_mesh, write_mesh
from learn2talk_core.mesh.regions import read_ids
from learn2talk_core.mesh.topology import Topology, load_topology, save_topology
from learn2talk_core.models.arcface import load_arcface
from learn2talk_core.models.expnet import load_expnet
from learn2talk_core.models.inception import load_inception
from learn2talk_core.models.posevae import load_posevae
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.models.speech_encoders.whisper import load_whisper
from learn2talk_core.models.syncnet2d import load_syncnet
from learn2talk_core.models.syncnet3d import load_syncnet3d
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.untrusted.pickles import load_array, load_pickle
from learn2talk_core.untrusted.published import read_file, read_state
from learn2talk_core.video.video_file import encode_video, read_video, video_audio, video_rate
from tests.pickles import malicious
from tests.talk import talk
from tests.toy import sheet, topology, toy_corpus

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "corpus")


# Name of the reader → the suffix of its files and how it is called; a corpus exists for readers that need one.
READERS: dict[str, tuple[str, Callable[[Path, Corpus], Any]]] = {
    "load_pickle": (".pkl", lambda path, _: load_pickle(path)),
    "load_array": (".npy", lambda path, _: load_array(path)),
    "load_array mapped": (".npy", lambda path, _: load_array(path, mmap=True)),
    "read_mouth npy": (".npy", lambda path, corpus: read_mouth(path, corpus, fps=30)),
    "read_mouth npz": (".npz", lambda path, corpus: read_mouth(path, corpus, fps=30)),
    "motion of a folder": (".npy", lambda path, _: read_folder_motion([path], 64)),
    "frames of BIWI": (".tar", lambda path, _: read_frames(path, 64)),
    "table of clips": ("/clips.json", lambda path, _: read_clip_table(path.parent)),
    "read_json": (".json", lambda path, _: read_json(path, made_by="somebody")),
    "load_calibration": (".json", lambda path, _: load_calibration(path)),
    "read_mesh obj": (".obj", lambda path, _: read_mesh(path)),
    "read_mesh ply": (".ply", lambda path, _: read_mesh(path)),
    "read_ids pkl": (".pkl", lambda path, _: read_ids(f"{path}:lips")),
    "read_ids npy": (".npy", lambda path, _: read_ids(path)),
    "read_ids txt": (".txt", lambda path, _: read_ids(path)),
    "read_ids json": (".json", lambda path, _: read_ids(path)),
    "load_topology": (".npz", lambda path, _: load_topology(path)),
    "read_sound wav": (".wav", lambda path, _: read_sound(path)),
    "read_sound flac": (".flac", lambda path, _: read_sound(path)),
    "read_video": (".mp4", lambda path, _: read_video(path)),
    "video_audio": (".mov", lambda path, _: video_audio(path)),
    "video_rate": (".avi", lambda path, _: video_rate(path)),
    "read_file": (".pth", lambda path, _: read_file(path)),
    "read_state": (".pt", lambda path, _: read_state(path)),
    "read_state safetensors": (".safetensors", lambda path, _: read_state(path)),
    "load_arcface": (".onnx", lambda path, _: load_arcface(path)),
}
# These build a network before they read, or use one of the readers above: two programs are enough.
HEAVY: dict[str, tuple[str, Callable[[Path, Corpus], Any]]] = {
    "import_wav2vec2": (".pt", lambda path, _: import_wav2vec2(path)),
    "import_faceformer": (".pth", lambda path, _: import_faceformer(path)),
    "import_wav2lip": (".pth", lambda path, _: import_wav2lip(path)),
    "import_sync_expert": (".pth", lambda path, _: import_sync_expert(path)),
    "import_lipreader": ("/model.pth", lambda path, _: import_lipreader(path)),
    "load_syncnet": (".model", lambda path, _: load_syncnet(path)),
    "load_expnet": (".pth", lambda path, _: load_expnet(path)),
    "load_posevae": (".pth", lambda path, _: load_posevae(path)),
    "load_inception": (".pth", lambda path, _: load_inception(path)),
    "weights of ours": ("/model.json", lambda path, _: load_syncnet3d(path.parent)),
    "a speech encoder's folder": ("/pytorch_model.bin", lambda path, _: load_speech_encoder(path.parent)),
    "a Whisper's folder": ("/pytorch_model.bin", lambda path, _: load_whisper(path.parent)),
    "CTranslate2's model.bin": (".bin", lambda path, _: import_whisper(path)),
}


def shells(program: bytes) -> dict[str, bytes]:
    """The same program in each form: bare, in torch's archive, in a TorchScript archive, and as NumPy objects."""

    def archive(files: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
        return buffer.getvalue()

    header = io.BytesIO()
    about = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(header, about)
    objects = header.getvalue() + program
    arrays = ("vertices", "fps", "template", "faces", "lip_pairs", "colours")
    return {
        "bare": program,
        "torch": archive({"a/data.pkl": program, "a/version": b"3\n", "a/byteorder": b"little"}),
        "script": archive({"a/data.pkl": program, "a/constants.pkl": program, "a/code/x.py": b"", "a/version": b"3\n"}),
        "npy": objects,
        "npz": archive({f"{name}.npy": objects for name in arrays}),
    }


def let_through(read: Callable[[Path, Corpus], Any], ending: str, programs: dict[str, bytes], folder: Path,
                corpus: Corpus, marker: Path) -> list[str]:  # fmt: skip
    """The programs, and their form, that were read instead of refused, or were run."""
    through = []
    for name, program in programs.items():
        for shell, content in shells(program).items():
            path = folder / (ending[1:] if ending.startswith("/") else f"file{ending}")
            path.write_bytes(content)
            try:
                read(path, corpus)
            except BadInput:
                pass
            else:
                through.append(f"{name} in {shell} was read")
            if marker.exists():
                through.append(f"{name} in {shell} was run")
    return through


@pytest.mark.filterwarnings("ignore")  # torch and NumPy warn about unusual files; only the refusal matters
@pytest.mark.parametrize("reader", list(READERS))
def test_no_reader_runs_a_program(reader: str, corpus: Corpus, tmp_path: Path) -> None:
    ending, read = READERS[reader]
    marker = tmp_path / "marker"
    assert let_through(read, ending, malicious(marker), tmp_path, corpus, marker) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", list(HEAVY))
def test_no_reader_of_checkpoints_runs_a_program(reader: str, corpus: Corpus, tmp_path: Path) -> None:
    ending, read = HEAVY[reader]
    marker = tmp_path / "marker"
    programs = {name: malicious(marker)[name] for name in ("os.system", "STACK_GLOBAL")}
    assert let_through(read, ending, programs, tmp_path, corpus, marker) == []


def test_the_programs_would_run_elsewhere(tmp_path: Path) -> None:
    """Without this, the tests above would prove nothing."""
    import pickle

    marker = tmp_path / "marker"
    for name in ("os.system", "STACK_GLOBAL", "os.system by INST"):
        pickle.loads(malicious(marker)[name])
        assert marker.exists(), name
        marker.unlink()


# Which file may use which dangerous function, and why it is safe there.
ALLOWED = {
    ("learn2talk_core/untrusted/pickles.py", "pickle._Unpickler"),  # a machine that knows plain data only
}
UNPICKLING = ("pickle.load", "pickle.loads", "pickle.Unpickler", "pickle._Unpickler")


def dangers(path: Path) -> list[str]:
    """Calls in a source file that could run code from a data file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in ("dill", "marshal", "shelve")]
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "dill", "marshal", "shelve"):
            found += [node.module for alias in node.names if not alias.name.endswith("Error")]
        if isinstance(node, ast.Attribute) and ast.unparse(node) in UNPICKLING:
            found.append(ast.unparse(node))
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        unsafe = {
            "torch.load": options.get("weights_only") != "True",
            "torch.jit.load": True,
            "np.load": options.get("allow_pickle", "False") != "False",
            "joblib.load": True,
            "pd.read_pickle": True,
            "yaml.load": True,
            "eval": True,
            "exec": True,
        }
        found += [called] if unsafe.get(called, False) else []
    return found


def test_no_other_code_reads_what_could_run() -> None:
    for path in sorted([*(ROOT / "learn2talk_core").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]):
        name = str(path.relative_to(ROOT))
        left = [danger for danger in dangers(path) if (name, danger) not in ALLOWED]
        assert not left, f"{name}: {left}"


def test_the_search_for_dangers_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import pickle\npickle.loads(b)\nfrom dill import loads\ntorch.load(p)\nnp.load(p, allow_pickle=True)\n"
        "np.load(p)\ntorch.load(p, weights_only=True)\neval('1')\nmodel.eval()\n"
    )
    assert sorted(dangers(path)) == ["dill", "eval", "np.load", "pickle.loads", "torch.load"]


# Damage: each reader with an intact file, and what must be true of anything that it still reads.


def _obj() -> bytes:
    return (
        b"".join(b"v %f %f %f\n" % tuple(row) for row in sheet()[:9].tolist())
        + b"f 1 2 3\nf -1 -2 -3\nf 4/1 5/2 6/3 7\n"
    )


def _ply(folder: Path) -> bytes:
    write_mesh(folder / "whole.ply", sheet(), topology().faces)
    return (folder / "whole.ply").read_bytes()


def _npz(folder: Path) -> bytes:
    np.savez_compressed(folder / "whole.npz", vertices=talk(seconds=1.0)[1], fps=30.0, mm_per_unit=1000.0, template="A")
    return (folder / "whole.npz").read_bytes()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, talk(seconds=1.0)[1])
    return file.getvalue()


def _wav(format: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, talk(seconds=0.3)[0], 16000, format=format)
    return file.getvalue()


def _video() -> bytes:
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    return encode_video(frames, 25, talk(seconds=0.32)[0])


def _topology(folder: Path) -> bytes:
    save_topology(folder / "whole-topology.npz", topology())
    return (folder / "whole-topology.npz").read_bytes()


def right_mesh(found: tuple[np.ndarray, np.ndarray]) -> bool:
    vertices, faces = found
    inside = faces.min(initial=0) >= 0 and faces.max(initial=-1) < len(vertices)
    return vertices.shape[1:] == faces.shape[1:] == (3,) and bool(np.isfinite(vertices).all()) and inside


def right_mouth(found: Any) -> bool:
    shapes = found.vertices.shape[1:] == found.template.shape == (32, 3)
    return shapes and bool(np.isfinite(found.vertices).all()) and found.fps > 0


def right_wave(found: np.ndarray) -> bool:
    return found.dtype == np.float32 and bool(np.abs(found).max() <= 1)


def right_video(found: Any) -> bool:
    frames, fps, audio = found
    pictures = frames.dtype == np.uint8 and frames.shape[3:] == (3,) and fps > 0
    return pictures and (audio is None or audio.dtype == np.float32)


def right_ids(found: np.ndarray) -> bool:
    return found.dtype == np.int64 and bool(found.min() >= 0)


def right_topology(found: Topology) -> bool:
    """All ids are below the number of vertices, which is that of the colours."""
    ids = [found.faces, found.lip_pairs, *found.regions.values()]
    return all(some.min(initial=0) >= 0 and some.max(initial=-1) < len(found.colours) for some in ids)


DAMAGED: dict[str, tuple[str, Callable[[Path], bytes], Callable[[Path, Corpus], Any], Callable[[Any], bool]]] = {
    "obj": (".obj", lambda _: _obj(), READERS["read_mesh obj"][1], right_mesh),
    "ply": (".ply", _ply, READERS["read_mesh ply"][1], right_mesh),
    "npy": (".npy", lambda _: _npy(), READERS["read_mouth npy"][1], right_mouth),
    "npz": (".npz", _npz, READERS["read_mouth npz"][1], right_mouth),
    "wav": (".wav", lambda _: _wav("WAV"), lambda path, _: read_sound(path), right_wave),
    "flac": (".flac", lambda _: _wav("FLAC"), lambda path, _: read_sound(path), right_wave),
    "ogg": (".ogg", lambda _: _wav("OGG"), lambda path, _: read_sound(path), right_wave),
    "video": (".mp4", lambda _: _video(), READERS["read_video"][1], right_video),
    "numbers": (".txt", lambda _: b"1 2, 30\n4", READERS["read_ids txt"][1], right_ids),
    "list": (".json", lambda _: b"[1, 2, 30]", READERS["read_ids json"][1], right_ids),
    "topology": (".npz", _topology, READERS["load_topology"][1], right_topology),
}
WHOLE: dict[str, bytes] = {}


@pytest.mark.parametrize("kind", list(DAMAGED))
def test_whole_files_are_read(kind: str, corpus: Corpus, tmp_path: Path) -> None:
    ending, make, read, right = DAMAGED[kind]
    (tmp_path / f"file{ending}").write_bytes(make(tmp_path))
    assert right(read(tmp_path / f"file{ending}", corpus))


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", list(DAMAGED))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=6),
    head=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=2),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files_are_refused_or_read_rightly(
    kind: str, flips: list, head: list, kept: float, corpus: Corpus, tmp_path: Path
) -> None:
    ending, make, read, right = DAMAGED[kind]
    content = bytearray(WHOLE.setdefault(kind, make(tmp_path)))
    for place, bit in flips:
        content[int(place * len(content))] ^= 1 << bit
    for place, value in head:  # headers hold the sizes
        content[min(place, len(content) - 1)] = value
    path = tmp_path / f"file{ending}"
    path.write_bytes(content[: round(kept * len(content))])
    try:
        found = read(path, corpus)
    except BadInput:
        return
    assert right(found)
