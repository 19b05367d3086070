"""`learn2talk import-checkpoint` and `export-checkpoint`: published files to Learn2Talk's model folders, and back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from torch import nn

from learn2talk_core.checkpoints import codetalker, faceformer, meshtalk, selftalk, voca
from learn2talk_core.checkpoints.lipreader import export_lipreader, import_lipreader, lipreader_parts
from learn2talk_core.checkpoints.students import ANY, PUBLISHED, fit_of, refuse_other_unit
from learn2talk_core.checkpoints.wav2lip import (
    OFFICIAL_INPUTS,
    OFFICIAL_SHAPE,
    export_sync_expert,
    export_wav2lip,
    import_sync_expert,
    import_wav2lip,
)
from learn2talk_core.checkpoints.wav2vec2 import export_wav2vec2, import_wav2vec2
from learn2talk_core.checkpoints.whisper import import_whisper
from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.models.expnet import load_expnet
from learn2talk_core.models.posevae import load_posevae
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.speech_encoders.wav2vec2 import load_wav2vec2
from learn2talk_core.models.students.codetalker.network import CodeTalker
from learn2talk_core.models.students.faceformer.network import FaceFormer
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.meshtalk.network import MeshTalk
from learn2talk_core.models.students.selftalk.network import SelfTalk
from learn2talk_core.models.students.selftalk.recogniser import (
    TextRecogniser,
    load_text_recogniser,
    save_text_recogniser,
)
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.students.voca.network import VOCA
from learn2talk_core.models.sync_expert2d import load_expert, save_expert
from learn2talk_core.models.syncnet2d import load_syncnet
from learn2talk_core.models.wav2lip import load_generator, save_generator
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import check_file
from learn2talk_core.run.own_folder import EXPORT, IMPORT, check_own, own_folder
from learn2talk_core.run.weights import parameter_count, save_weights

Kind = Literal[
    "wav2vec2", "faceformer", "selftalk", "codetalker", "meshtalk", "voca", "wav2lip", "lipsync-expert", "lipreader"
]
ImportKind = Kind | Literal["whisper", "syncnet", "expnet", "posevae"]


class Takes(NamedTuple):
    """The files that a kind of checkpoint needs, and how the folder made from them is used."""

    files: str
    use: str


def _parameter(files: str, name: str) -> Takes:
    return Takes(files, f"dvc exp run -S {name}={{folder}}")


_SADTALKER = "SadTalker_V0.0.2_256.safetensors or, of the older release, "
TAKES: dict[ImportKind, Takes] = {
    "wav2vec2": _parameter("weights, folder or cached hub name [config.json]", "experts.speech_encoder"),
    "whisper": _parameter("folder, cached hub name or CTranslate2's model.bin", "experts.speech_encoder"),
    "faceformer": _parameter(
        "biwi.pth or vocaset.pth [config.json of its speech encoder]", "students.faceformer.checkpoint"
    ),
    "selftalk": _parameter(
        "vocaset.pth or BIWI.pth [FLAME_masks.pkl or BIWI_lip.pkl] [config.json of its speech encoder]",
        "students.selftalk.checkpoint",
    ),
    "codetalker": _parameter(
        "the files of both stages [config.json of its speech encoder]", "students.codetalker.checkpoint"
    ),
    "meshtalk": _parameter(
        "the folder with encoder.pkl, context_model.pkl and vertex_unet.pkl [forehead_mask.txt, neck_mask.txt in it]",
        "students.meshtalk.checkpoint",
    ),
    "voca": Takes(
        "gstep_52280.model.index, with its .data file beside it",
        "VOCA.predict_from_logits with DeepSpeech's logits, from models.students.loading.load_student('{folder}')",
    ),
    "wav2lip": _parameter("wav2lip.pth, wav2lip_gan.pth or Wav2Lip-SD-*.pt", "experts.teacher"),
    "lipsync-expert": _parameter("lipsync_expert.pth", "experts.sync_expert"),
    "lipreader": _parameter("model.pth [model.json] [unigram5000_units.txt]", "experts.lipreader_loss"),
    "syncnet": Takes("syncnet_v2.model", "learn2talk score-video VIDEO --syncnet {folder}"),
    "expnet": Takes(_SADTALKER + "auido2exp_00300-model.pth", "models.expnet.load_expnet('{folder}')"),
    "posevae": Takes(
        _SADTALKER + "auido2pose_00140-model.pth", "learn2talk animate SPEECH --head 1 --head-model {folder}"
    ),
}
# Published networks that no stage imports: name and loader, which also reads the imported folder.
_AS_THEY_ARE: dict[str, tuple[str, Callable[[str | Path], nn.Module]]] = {
    "syncnet": ("SyncNet", load_syncnet),
    "expnet": ("ExpNet", load_expnet),
    "posevae": ("PoseVAE", load_posevae),
}


def import_checkpoint(files: Sequence[str], kind: ImportKind, out: str | Path, corpus: str | Path | None = None) -> str:
    """Check published files and write them as a model folder; `TAKES` says how to use it.

    Args:
        files: the weights and the files that belong to them, in any order; see `TAKES`.
        kind: the kind of checkpoint.
        out: folder to write; one that this command made is replaced.
        corpus: for a student, the corpus that it is to be used with: number of speakers, mesh, frame rate and unit
            are compared. Not needed for the published files.

    Returns:
        One sentence that describes the network.
    """
    check_own(out, IMPORT)
    config = next((file for file in files if file.endswith(".json")), None)
    units = next((file for file in files if file.endswith(".txt")), None)
    lips = next((file for file in files if file.endswith(".pkl")), None) if kind == "selftalk" else None
    weights = [file for file in files if file not in (config, units, lips)]
    if len(weights) != (2 if kind == "codetalker" else 1):
        number = "two files" if kind == "codetalker" else "one file"
        found = ", ".join(weights) or "none"
        raise BadInput(f"--as {kind}", expected=f"{number} of weights", found=found, fix=f"Takes: {TAKES[kind].files}.")
    source = weights[0]
    if kind == "wav2vec2":
        encoder = import_wav2vec2(source, config)
        with own_folder(out, IMPORT) as folder:
            encoder.save_pretrained(folder)
        layers, width = encoder.config.num_hidden_layers, encoder.config.hidden_size
        return f"wav2vec 2.0, {layers} layers of width {width}, {_size(parameter_count(encoder))}"
    if kind == "whisper":
        whisper = import_whisper(source)
        with own_folder(out, IMPORT) as folder:
            save_speech_encoder(folder, whisper)
        layers, size = whisper.config.encoder_layers, _size(parameter_count(whisper))
        return f"Whisper's encoder, {layers} layers of width {whisper.width}, {size}"
    if kind in ("faceformer", "selftalk", "codetalker"):
        opened = None if corpus is None else open_corpus(corpus)
        student, speakers, recogniser = _student(kind, weights, config, lips, opened)
        fps = float(PUBLISHED[student.alignment][0]) if opened is None else opened.fps
        notes = {} if opened is None else {"recipe": opened.recipe}
        with own_folder(out, IMPORT) as folder:
            save_student(folder, student, fps=fps, speakers=speakers, checkpoint=Path(source).name, **notes)
            if recogniser is not None:
                save_text_recogniser(folder / "recogniser", recogniser)
        return (
            f"{type(student).__name__} of {student.vertex_count} vertices and {len(speakers)} styles at {fps:g} frames "
            f"per second, alignment {student.alignment}, {_size(parameter_count(student))}"
        )
    if kind == "meshtalk":
        return _import_meshtalk(source, out, None if corpus is None else open_corpus(corpus))
    if kind == "voca":
        model, names = voca.import_voca(source)
        with own_folder(out, IMPORT) as folder:
            save_student(folder, model, fps=voca.PUBLISHED_FPS, speakers=names, checkpoint=Path(source).name)
        return (
            f"VOCA of {model.vertex_count} vertices and {len(names)} styles at {voca.PUBLISHED_FPS:g} frames per "
            f"second, which needs the logits of DeepSpeech 0.1.0 instead of sound, {_size(parameter_count(model))}"
        )
    if kind == "wav2lip":
        generator = import_wav2lip(source)
        with own_folder(out, IMPORT) as folder:
            save_generator(folder, generator, inputs=OFFICIAL_INPUTS, **OFFICIAL_SHAPE)
        return f"Wav2Lip's generator, {_size(parameter_count(generator))}"
    if kind == "lipsync-expert":
        expert = import_sync_expert(source)
        with own_folder(out, IMPORT) as folder:
            save_expert(folder, expert, width=1.0)
        return f"Wav2Lip's lip-sync expert, {_size(parameter_count(expert))}"
    if kind in _AS_THEY_ARE:
        name, load = _AS_THEY_ARE[kind]
        network = load(source)
        with own_folder(out, IMPORT) as folder:
            save_weights(folder, network, {"network": name, "source": Path(source).name})
        return f"{name}, {_size(parameter_count(network))}"
    reader, shape, names = import_lipreader(source, config, units)
    with own_folder(out, IMPORT) as folder:
        save_weights(folder, *lipreader_parts(reader, shape, names))
    return f"lip reader of {len(names)} units, {_size(parameter_count(reader))}"


def _import_meshtalk(source: str, out: str | Path, corpus: Corpus | None) -> str:
    if corpus is None:
        (model, speakers), fps, notes = meshtalk.import_meshtalk(source), meshtalk.FPS, {}
    else:
        (model, speakers), fps = meshtalk.import_student(source, corpus), corpus.fps
        notes = {"recipe": corpus.recipe}
    with own_folder(out, IMPORT) as folder:
        save_student(folder, model, fps=fps, speakers=speakers, checkpoint=Path(source).name, **notes)
    smoothed = f"smoothed by {len(model.masks)} masks" if len(model.masks) else "not smoothed: no masks in the folder"
    size = _size(parameter_count(model))
    return f"MeshTalk of {model.vertex_count} vertices at {fps:g} frames per second, {smoothed}, {size}"


def _student(
    kind: ImportKind, weights: Sequence[str], config: str | None, lips: str | None, corpus: Corpus | None
) -> tuple[FaceFormer | SelfTalk | CodeTalker, tuple[str, ...], TextRecogniser | None]:
    """A published student, its speakers, and the recogniser that came with it."""
    fit = ANY if corpus is None else fit_of(corpus)
    student: FaceFormer | SelfTalk | CodeTalker
    recogniser = None
    if kind == "faceformer":
        student, speakers = faceformer.import_faceformer(weights[0], fit, config=config)
    elif kind == "selftalk":
        student, speakers, recogniser = selftalk.import_selftalk(weights[0], fit, config=config, lips=lips)
    else:
        student, speakers = codetalker.import_codetalker(weights[0], weights[1], fit, config=config)
    if corpus is not None:
        refuse_other_unit(weights[0], student.alignment, corpus)
    return student, speakers, recogniser


def export_checkpoint(folder: str | Path, kind: Kind, out: str | Path) -> list[str]:
    """Write a Learn2Talk model in the file format, and with the key names, that the published code reads.

    Args:
        folder: the model's folder.
        kind: the kind of model.
        out: file to write; for wav2vec2, lipreader, codetalker and meshtalk a folder, and one that this command made is
            replaced.

    Returns:
        Notes on what the published code needs to know, one sentence each.
    """
    if kind in ("wav2vec2", "lipreader", "codetalker", "meshtalk"):
        check_own(out, EXPORT)
    else:
        check_file(out)
    if kind == "wav2vec2":
        export_wav2vec2(load_wav2vec2(folder), out)
    elif kind in ("faceformer", "selftalk", "codetalker", "meshtalk", "voca"):
        return _export_student(folder, kind, out)
    elif kind == "wav2lip":
        generator, inputs = load_generator(folder)
        export_wav2lip(generator, out, inputs)
    elif kind == "lipsync-expert":
        inside = Path(folder) / "sync_expert"
        export_sync_expert(load_expert(inside if inside.is_dir() else folder), out)
    else:
        export_lipreader(folder, out)
    return []


def _export_student(folder: str | Path, kind: Kind, out: str | Path) -> list[str]:
    student, _ = load_student(folder, made_by="make repro")
    if student.network != kind:
        fix = f"Name another folder, or use --as {student.network}."
        raise BadInput(folder, expected=f"a {kind}", found=f"a {student.network}", fix=fix)
    if isinstance(student, SelfTalk):
        inside = Path(folder) / "recogniser"
        return selftalk.export_selftalk(student, load_text_recogniser(inside) if inside.is_dir() else None, out)
    if isinstance(student, MeshTalk):
        return meshtalk.export_meshtalk(student, out)
    if isinstance(student, CodeTalker):
        return codetalker.export_codetalker(student, out)
    if isinstance(student, VOCA):
        return voca.export_voca(student, out)
    assert isinstance(student, FaceFormer)
    return faceformer.export_faceformer(student, out)


def _size(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} million parameters"
