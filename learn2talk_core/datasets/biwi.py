"""BIWI, the 3D Audiovisual Corpus of Affective Communication B3D(AC)² (Fanelli et al. 2010): 14 people, 25 fps.

Two layouts are read; neither needs MATLAB:

    as distributed                                  as FaceFormer and CodeTalker process it
    faces/F2/e01/frame_001.vl …, or e01.tar         vertices_npy/F2_e01.npy   (T, 3 V)
    rigid_scans/F2.obj                              templates.pkl             {speaker: (V, 3)}
    audio/F2_e01_cut.wav, wav/F2_e01.wav,           wav/F2_e01.wav
      or videos/F2_e01.flv                          BIWI.ply or templates/BIWI.ply
    regions/lve.txt, regions/fdd.txt                regions/lve.txt, regions/fdd.txt

`.vl` and `.obj` are in millimetres with y down and z into the face. Each recipe rotates them by π about x.

- `codetalker` (`creatDataset_BIWI.m`, `process_BIWI_template.m` there): every frame and every template is centred at
  the mean of its vertices and divided by the square root of its surface area. Lengths are then no longer physical, and
  opening the mouth makes the head smaller; but published numbers are in this unit.
- `metric`: all frames of a speaker are moved by the centre of the speaker's template and converted to metres.

Only the emotional sentences e01 … e40 are used, in FaceFormer's splits: Test-A is `test_seen`, Test-B `test_unseen`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from learn2talk_core.audio.sound import read_sound
from learn2talk_core.corpus import published_speakers
from learn2talk_core.corpus.format import Recording
from learn2talk_core.corpus.offset import shifted
from learn2talk_core.datasets.source import ClipKey, Source, read_ahead
from learn2talk_core.datasets.vl import count_frames, read_frames
from learn2talk_core.mesh.area import centres_and_areas, recentre
from learn2talk_core.mesh.files import read_mesh
from learn2talk_core.mesh.regions import face_colours, read_ids, regions_from_lips
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import by_stem, visible
from learn2talk_core.run.progress import log
from learn2talk_core.untrusted.pickles import load_array, load_pickle
from learn2talk_core.video.video_file import video_audio

BiwiRecipe = Literal["codetalker", "metric"]

FPS = 25.0
VERTICES = 23_370
TRAIN_SPEAKERS = published_speakers.BIWI
UNSEEN_SPEAKERS = ("F1", "F5", "F6", "F7", "F8", "M1", "M2", "M6")
SPEAKERS = TRAIN_SPEAKERS + UNSEEN_SPEAKERS
TRAIN, VALIDATION, TEST = range(1, 33), range(33, 37), range(37, 41)
TEST_A_FRAMES = 3879  # in 24 sequences
# Millimetres per unit of the unit-area faces if there are no raw templates to measure: the value of most speakers in
# FaceFormer's issue 45, whose table ranges from 174 to 201.
UNIT_MM = 185.0
RAW_MM = (120.0, 300.0)  # plausible square root of the area of a face mask, in millimetres
FLIP = np.array([1.0, -1.0, -1.0])  # the rotation by π about x
UNIT_TOLERANCE = 1e-3  # for area and centre of processed faces, which should have unit area

_SEQUENCE = re.compile(r"(?P<speaker>.+)_(?P<sentence>e?\d\d)")
_SOUND = re.compile(r"(?:^|/)(?P<speaker>[FM]\d)[/_](?P<sentence>e?\d\d)(?P<cut>_cut)?\.(?i:wav|flac|flv|mp4)$")


@dataclass(frozen=True)
class _Data:
    """The contents of a layout: faces in the recipe's unit, and the paths of the sequences.

    `motion` reads one sequence (T, V, 3) of a speaker in the recipe's unit.
    """

    templates: Mapping[str, np.ndarray]
    faces: np.ndarray
    mm_per_unit: float
    paths: Mapping[ClipKey, Path]
    frames: Callable[[Path], int]
    motion: Callable[[str, Path], np.ndarray]


def read_biwi(
    folder: str | Path, *, recipe: BiwiRecipe, regions: str | Path | None = None, audio_offset_ms: float = 0.0
) -> Source:
    """Open a copy of BIWI; its clips are read one by one while the corpus is written.

    Logged: the layout found, names of missing sequences, what is left out, and whether Test-A has its 3879 frames.

    Args:
        folder: with `faces`, `rigid_scans` and `audio`, `wav` or `videos`; or the processed layout.
        recipe: "codetalker" or "metric", see the module's docstring.
        regions: folder with CodeTalker's `lve.txt` and `fdd.txt`. Default: `regions` in `folder`.
        audio_offset_ms: milliseconds by which the sound is delayed against the motion (negative: made earlier); sound
            or motion without a counterpart is cut off.

    Raises:
        BadInput: not BIWI, a file that is broken or has another mesh, or processed motion of another recipe.
    """
    folder = Path(folder)
    if recipe not in ("codetalker", "metric"):
        raise BadInput("recipe", expected="codetalker or metric", found=repr(recipe), fix="Choose one of the two.")
    data = _distribution(folder, recipe) if _is_distribution(folder) else _processed(folder, recipe)
    sounds = find_sounds(folder)
    keys = _complete(folder, data, sounds)
    train_speakers = tuple(s for s in TRAIN_SPEAKERS if any(k[0] == s and split_of(*k) == "train" for k in keys))
    if not train_speakers:
        raise BadInput(
            folder,
            expected=f"sentences e01 … e32 of {', '.join(TRAIN_SPEAKERS)}",
            found="none of them with motion, sound and template",
            fix="Unpack faces01.tgz … faces05.tgz and rest.tgz of the distribution here.",
        )
    if train_speakers != TRAIN_SPEAKERS:
        log.warning(
            "%s: the style one-hot covers only %s, not all training speakers of BIWI", folder, ", ".join(train_speakers)
        )
    face = data.templates[train_speakers[0]]
    return Source(
        recordings=_recordings(data, keys, sounds, audio_offset_ms / 1000),
        topology=_topology(Path(regions or folder / "regions"), face, data),
        templates={speaker: data.templates[speaker] for speaker in dict.fromkeys(k[0] for k in keys)},
        train_speakers=train_speakers,
        fps=FPS,
        mm_per_unit=data.mm_per_unit,
        recipe=f"biwi-{recipe}",
    )


def split_of(speaker: str, sentence: str) -> str | None:
    """FaceFormer's split of a sequence; None for unused ones, such as the neutral F2_37."""
    number = int(sentence[1:]) if re.fullmatch(r"e\d\d", sentence) else 0
    if speaker in UNSEEN_SPEAKERS:
        return "test_unseen" if number in TEST else None
    if speaker not in TRAIN_SPEAKERS:
        return None
    splits = {"train": TRAIN, "validation": VALIDATION, "test_seen": TEST}
    return next((name for name, numbers in splits.items() if number in numbers), None)


def unit_area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """CodeTalker's recipe, in place: raw frames (T, V, 3) float32 → rotated, each centred and scaled to area 1."""
    centres, areas = centres_and_areas(vertices, faces)
    recentre(vertices, centres, FLIP / np.sqrt(areas)[:, None])
    return vertices


def metres(vertices: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The metric recipe, in place: raw frames (T, V, 3) float32, mm → rotated, around the template's centre, metres."""
    centre = np.broadcast_to(template.mean(axis=0, dtype=np.float64), (len(vertices), 3))
    recentre(vertices, centre, np.broadcast_to(FLIP / 1000, (len(vertices), 3)))
    return vertices


def _is_distribution(folder: Path) -> bool:
    if not folder.is_dir():
        raise BadInput(folder, expected="the folder of BIWI", found="no such folder", fix="Check the path.")
    if (folder / "faces").is_dir():
        return True
    if not (folder / "vertices_npy").is_dir():
        packed = [path.name for path in visible(folder, "*.tgz")]
        raise BadInput(
            folder,
            expected="BIWI: the folders faces, rigid_scans and audio, or vertices_npy and wav",
            found=", ".join(packed) if packed else "neither faces nor vertices_npy",
            fix=f"Unpack them first: tar xzf {packed[0]}." if packed else "Check the path.",
        )
    return False


def _distribution(folder: Path, recipe: BiwiRecipe) -> _Data:
    log.info("%s: BIWI as distributed, recipe %s", folder, recipe)
    raw = _scans(folder)
    if not raw:
        fix = "Unpack the archive with the templates (rest.tgz) here."
        raise BadInput(folder / "rigid_scans", expected="templates F1.obj … M6.obj", found="none", fix=fix)
    for speaker, (vertices, _) in raw.items():
        _refuse_count(folder / "rigid_scans" / f"{speaker}.obj", len(vertices), len(next(iter(raw.values()))[0]))
    mm_per_unit = _millimetres(folder, raw)

    def normal(speaker: str, vertices: np.ndarray) -> np.ndarray:
        template, faces = raw[speaker]
        return unit_area(vertices, faces) if recipe == "codetalker" else metres(vertices, template)

    paths: dict[ClipKey, Path] = {}
    # a sequence has a .tar with its .vl files and a .tgz with something else; once unpacked, it also has a folder
    for kind in ("*.tgz", "*.tar", "*/"):
        for path in visible(folder / "faces", f"*/{kind}"):
            paths[path.parent.name, path.name.split(".")[0]] = path
    return _Data(
        templates={speaker: normal(speaker, vertices[None].copy())[0] for speaker, (vertices, _) in raw.items()},
        faces=next(iter(raw.values()))[1],
        mm_per_unit=mm_per_unit if recipe == "codetalker" else 1000.0,
        paths=paths,
        frames=count_frames,
        motion=lambda speaker, path: normal(speaker, read_frames(path, len(raw[speaker][0]))),
    )


def _scans(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The templates of the distribution: speaker → positions and triangles."""
    found = by_stem(folder / "rigid_scans", (".obj",))
    return {speaker: read_mesh(found[speaker]) for speaker in SPEAKERS if speaker in found}


def _processed(folder: Path, recipe: BiwiRecipe) -> _Data:
    log.info("%s: BIWI as processed for FaceFormer and CodeTalker", folder)
    if recipe == "metric":
        raise BadInput(
            folder,
            expected="the distribution (faces, rigid_scans, audio) for the recipe metric",
            found="vertices_npy, which does not keep the size of each frame",
            fix="Use the recipe codetalker, or give the folder of the distribution.",
        )
    mesh = next((p for p in (folder / "BIWI.ply", folder / "templates" / "BIWI.ply") if p.is_file()), None)
    if mesh is None:
        raise BadInput(
            folder / "BIWI.ply",
            expected="the mesh of BIWI",
            found="nothing",
            fix="Copy BIWI/BIWI.ply of CodeTalker or FaceFormer to this path.",
        )
    vertices, faces = read_mesh(mesh)
    stored = load_pickle(folder / "templates.pkl")
    if not isinstance(stored, Mapping) or not all(isinstance(value, np.ndarray) for value in stored.values()):
        found, fix = f"a {type(stored).__name__}", "Use templates.pkl of the processed BIWI."
        raise BadInput(folder / "templates.pkl", expected="{speaker: array of vertices}", found=found, fix=fix)
    templates = {}
    for speaker in SPEAKERS:
        if speaker in stored:
            where = f"{folder / 'templates.pkl'}, {speaker}"
            _refuse_count(where, stored[speaker].size / 3, len(vertices))
            templates[speaker] = np.asarray(stored[speaker], np.float32).reshape(-1, 3)
            _refuse_other_recipe(where, templates[speaker][None], faces)

    def motion(_: str, path: Path) -> np.ndarray:
        array = load_array(path, mmap=True)
        _refuse_count(path, array.size / max(len(array), 1) / 3, len(vertices))
        frames = np.array(array, np.float32).reshape(len(array), -1, 3)
        _refuse_other_recipe(path, frames, faces)
        return frames

    raw = _scans(folder)
    if not raw:
        log.info("%s: no rigid_scans/*.obj; a unit is assumed to be %g mm, an estimate", folder, UNIT_MM)
    paths = {}
    for path in by_stem(folder / "vertices_npy", (".npy",)).values():
        if match := _SEQUENCE.fullmatch(path.stem):
            paths[match["speaker"], match["sentence"]] = path
    return _Data(
        templates=templates,
        faces=faces,
        mm_per_unit=_millimetres(folder, raw) if raw else UNIT_MM,
        paths=paths,
        frames=lambda path: len(load_array(path, mmap=True)),
        motion=motion,
    )


def _complete(folder: Path, data: _Data, sounds: Mapping[ClipKey, Path]) -> list[ClipKey]:
    """The sequences of the splits that have motion, sound and template, in order; the others are logged by name."""
    wanted = [(s, f"e{n:02d}") for s in SPEAKERS for n in range(1, 41) if split_of(s, f"e{n:02d}")]
    _log_names(f"{folder}: no motion for", [key for key in wanted if key not in data.paths], len(wanted))
    silent = [key for key in wanted if key in data.paths and key not in sounds]
    _log_names(f"{folder}: motion but no sound, therefore left out:", silent, len(wanted))
    strangers = sorted({key for key in data.paths if key[0] not in SPEAKERS})
    _log_names(f"{folder}: not of BIWI's speakers (use dataset: folder for them):", strangers, len(data.paths))
    unused = [key for key in data.paths if key[0] in SPEAKERS and key not in wanted]
    if unused:
        log.info("%s: %d sequences are neutral or in no split and are left out", folder, len(unused))
    keys = [key for key in wanted if key in data.paths and key in sounds]
    for speaker in dict.fromkeys(speaker for speaker, _ in keys):
        if speaker not in data.templates:
            raise BadInput(folder, expected=f"a template of {speaker}", found="none", fix=f"Add {speaker}'s template.")
    test_a = [key for key in keys if split_of(*key) == "test_seen"]
    report_test_a(sum(data.frames(data.paths[key]) for key in test_a), len(test_a))
    return keys


def report_test_a(frames: int, sequences: int) -> None:
    """Log whether BIWI-Test-A is that of published results; its number of frames is a checksum of the data."""
    if (frames, sequences) == (TEST_A_FRAMES, 24):
        log.info("BIWI-Test-A: 24 sequences, %d frames, as published", frames)
    else:
        log.warning(
            "BIWI-Test-A: %d sequences, %d frames; the published one has 24 and %d, so results are not comparable",
            sequences,
            frames,
            TEST_A_FRAMES,
        )


def find_sounds(folder: Path) -> dict[ClipKey, Path]:
    """The sound files of a copy of BIWI by speaker and sentence.

    `wav` takes precedence over `audio`, `audio` over `videos`; within a folder, `F2_e01_cut.wav`, which is cut to the
    motion, over other files.
    """
    found: dict[ClipKey, Path] = {}
    for name in ("videos", "audio", "wav"):
        matches = [
            (p, m) for p in visible(folder / name, "**/*") if (m := _SOUND.search(p.relative_to(folder).as_posix()))
        ]
        for path, match in sorted(matches, key=lambda item: (item[1]["cut"] or "", item[0])):
            found[match["speaker"], match["sentence"]] = path
    return found


def _recordings(
    data: _Data, keys: Sequence[ClipKey], sounds: Mapping[ClipKey, Path], offset: float
) -> Iterator[Recording]:
    def read(key: ClipKey) -> Recording:
        speaker, sentence = key
        split = split_of(speaker, sentence)
        assert split is not None
        motion = data.motion(speaker, data.paths[key])
        motion, audio = shifted(motion, _sound(sounds[key]), offset, FPS)
        return Recording(
            id=f"{speaker}_{sentence}",
            speaker=speaker,
            sentence=sentence,
            text="",
            split=split,
            audio=audio,
            motion=motion,
        )

    return read_ahead(read, keys)


def _sound(path: Path) -> np.ndarray:
    wave = video_audio(path) if path.suffix.lower() in (".flv", ".mp4") else read_sound(path)
    if wave is None:
        raise BadInput(path, expected="a sound track", found="none", fix="Add the sound as a wav in the folder audio.")
    return wave


def _topology(regions: Path, face: np.ndarray, data: _Data) -> Topology:
    lists = {}
    for name, what in (("lve", "vertices of mouth and chin, for LVE"), ("fdd", "vertices of the upper face, for FDD")):
        path = regions / f"{name}.txt"
        if not path.is_file():
            raise BadInput(
                path,
                expected=f"CodeTalker's list of {what}",
                found="nothing",
                fix=f"Copy BIWI/regions/{name}.txt of github.com/Doubiiu/CodeTalker to this path.",
            )
        lists[name] = np.unique(read_ids(path))
        if lists[name][-1] >= len(face):
            raise BadInput(
                path,
                expected=f"vertex numbers 0 … {len(face) - 1}",
                found=str(lists[name][-1]),
                fix="Give the lists of this mesh.",
            )
    found, lip_pairs = regions_from_lips(face, data.faces, lists["lve"], mm_per_unit=data.mm_per_unit)
    # SyncNet3D uses the published list too: its vertices must not depend on the assumed length of a unit
    named = {**found, "mouth": lists["lve"], "upper_face": lists["fdd"]}
    return Topology(
        faces=data.faces,
        regions=named,
        lip_pairs=lip_pairs,
        colours=face_colours(face, data.faces, named, mm_per_unit=data.mm_per_unit),
    )


def _millimetres(folder: Path, raw: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> float:
    """Millimetres per unit of the unit-area faces: the mean of √area over the templates."""
    sides = {s: float(np.sqrt(centres_and_areas(v[None], f)[1][0])) for s, (v, f) in raw.items()}
    mean = float(np.mean(list(sides.values())))
    strange = {s: side for s, side in sides.items() if not RAW_MM[0] < side < RAW_MM[1]}
    if strange:
        log.warning("%s: √area of templates is %s; BIWI's are about 185 mm. Are these millimetres?", folder, strange)
    log.info("%s: the unit of unit-area faces is %.1f mm, the mean over %d templates", folder, mean, len(sides))
    return mean


def _refuse_count(where: object, found: float, expected: int) -> None:
    if found != expected:
        raise BadInput(
            where,
            expected=f"{expected} vertices, as in the other files",
            found=f"{found:g}",
            fix=f"Give files with the same mesh; BIWI's has {VERTICES} vertices.",
        )


def _refuse_other_recipe(where: object, frames: np.ndarray, faces: np.ndarray) -> None:
    """Refuse processed faces that `unit_area` does not make: copies of BIWI with another scaling cannot be mixed."""
    centres, areas = centres_and_areas(frames, faces)
    wrong = np.maximum(np.abs(areas - 1), np.abs(centres).max(axis=1)) > UNIT_TOLERANCE
    if wrong.any() or not np.isfinite(areas).all():
        t = int(np.argmax(wrong | ~np.isfinite(areas)))
        raise BadInput(
            f"{where}, frame {t}",
            expected="a face of area 1 around the origin (recipe codetalker)",
            found=f"area {areas[t]:.4g} around {np.round(centres[t], 3).tolist()}",
            fix="It was made by another recipe, which cannot be mixed with this one: use the distribution instead.",
        )


def _log_names(text: str, keys: Sequence[ClipKey], of: int, most: int = 20) -> None:
    if keys:
        names = ", ".join("_".join(key) for key in keys[:most]) + (" …" if len(keys) > most else "")
        log.warning("%s %d of %d sequences: %s", text, len(keys), of, names)
