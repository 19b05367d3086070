"""The 3D datasets that a corpus can be made from, and their settings: group `corpus.source` of params.yaml."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from learn2talk_core.corpus.format import write_corpus
from learn2talk_core.datasets.biwi import read_biwi
from learn2talk_core.datasets.folder import read_folder
from learn2talk_core.datasets.source import Source
from learn2talk_core.datasets.vocaset import read_vocaset
from learn2talk_core.mesh.texture import read_texture
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import visible

Dataset = Literal["vocaset", "biwi", "folder"]
DATASETS: tuple[Dataset, ...] = get_args(Dataset)


@dataclass(frozen=True)
class Settings:
    """How a dataset is read. A setting that the dataset itself fixes is None; docs/datasets.md has examples.

    Attributes:
        path: the dataset's folder.
        recipe: of BIWI, see `datasets.biwi`.
        fps: frame rate of the motion.
        mm_per_unit: millimetres per unit of the meshes.
        axes: which axes of the files point to the speaker's left, up and out of the face.
        lips, upper_face, mouth: region files inside `path`, see `mesh.regions.read_ids`.
        audio_offset_ms: milliseconds by which the sound is delayed against the motion; negative makes it earlier.
        texture: an OBJ file inside `path` with texture coordinates, see `mesh.texture.read_texture`; None is without.
    """

    path: str
    recipe: Literal["codetalker", "metric"] | None
    fps: float | None
    mm_per_unit: float | None
    axes: tuple[str, ...] | None
    lips: str | None
    upper_face: str | None
    mouth: str | None
    audio_offset_ms: float
    texture: str | None = None


# The settings of a dataset besides path and audio_offset_ms: required ones, and optional ones that may be null.
TAKES: dict[Dataset, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vocaset": ((), ("lips",)),
    "biwi": (("recipe",), ()),
    "folder": (("fps", "mm_per_unit", "lips"), ("axes", "upper_face", "mouth")),
}


def open_source(dataset: Dataset, settings: Settings) -> Source:
    """Open a dataset, with its texture if one is named; clips are read one by one while the corpus is written.

    Raises:
        BadInput: a required setting is null, a setting that the dataset does not take is not null, there is no such
            folder, or the reader fails.
    """
    _refuse_wrong_settings(dataset, settings)
    path = Path(settings.path)
    _refuse_missing(path)
    source = _open(dataset, settings, path)
    if settings.texture is None:
        return source
    texture = read_texture(inside(path, settings.texture), source.topology.faces)
    return replace(source, topology=replace(source.topology, texture=texture))


def _open(dataset: Dataset, settings: Settings, path: Path) -> Source:
    lips = None if settings.lips is None else inside(path, settings.lips)
    if dataset == "vocaset":
        return read_vocaset(path, lips=lips, audio_offset_ms=settings.audio_offset_ms)
    if dataset == "biwi":
        assert settings.recipe is not None
        return read_biwi(path, recipe=settings.recipe, audio_offset_ms=settings.audio_offset_ms)
    assert settings.fps is not None
    assert settings.mm_per_unit is not None
    assert lips is not None
    return read_folder(
        path,
        fps=settings.fps,
        mm_per_unit=settings.mm_per_unit,
        lips=lips,
        upper_face=None if settings.upper_face is None else inside(path, settings.upper_face),
        mouth=None if settings.mouth is None else inside(path, settings.mouth),
        axes=settings.axes or ("x", "y", "z"),
        audio_offset_ms=settings.audio_offset_ms,
    )


def write_source(folder: str | Path, source: Source) -> None:
    """Write a dataset as a canonical corpus."""
    write_corpus(
        folder,
        source.recordings,
        topology=source.topology,
        templates=source.templates,
        train_speakers=source.train_speakers,
        fps=source.fps,
        mm_per_unit=source.mm_per_unit,
        recipe=source.recipe,
    )


def inside(folder: Path, path: str) -> str:
    """The path of a file inside the dataset's folder. A file elsewhere is refused: DVC would not notice its changes."""
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise BadInput(
            path, expected="a file inside the dataset's folder", found="one outside", fix=f"Copy it into {folder}."
        )
    return str(folder / path)


def guess_dataset(folder: Path) -> Dataset:
    """Which dataset a folder contains, judged by its file names."""
    _refuse_missing(folder)
    names = {path.name for path in folder.iterdir()}
    clips = [path.stem for path in visible(folder / "vertices_npy") if path.suffix.lower() == ".npy"]
    if "data_verts.npy" in names or any(name.startswith("FaceTalk_") for name in clips):
        return "vocaset"
    biwi = any(name[:1] in "FM" and name[1:2].isdigit() and name[2:4] == "_e" for name in clips)
    return "biwi" if biwi or {"faces", "rigid_scans"} <= names else "folder"


def _refuse_missing(folder: Path) -> None:
    """Refuse a dataset that does not exist; a relative path may exist in the project and not in a copy of it."""
    if folder.is_dir():
        return
    found, fix = "a file" if folder.exists() else "no such folder", "Check the path."
    if not (folder.exists() or folder.is_absolute()):
        found += f": the path is relative to the project, and this copy of it, {Path.cwd()}, does not contain it"
        fix = "Give an absolute path: dvc exp run --temp and --queue copy only what Git or DVC track."
    raise BadInput(folder, expected="the folder of a dataset", found=found, fix=fix)


def _refuse_wrong_settings(dataset: Dataset, settings: Settings) -> None:
    needed, taken = TAKES[dataset]
    for name in ("recipe", "fps", "mm_per_unit", "axes", "lips", "upper_face", "mouth"):
        value = getattr(settings, name)
        if name in needed and value is None:
            raise BadInput(
                f"corpus.source.{name}",
                expected=f"a value, because the dataset {dataset} needs it",
                found="none",
                fix="See docs/datasets.md.",
            )
        if name not in (*needed, *taken) and value is not None:
            raise BadInput(
                f"corpus.source.{name}",
                expected=f"null, because the dataset {dataset} does not take it",
                found=repr(value),
                fix="Remove it.",
            )
