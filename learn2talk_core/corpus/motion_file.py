"""Read the motion of a face from an `.npy` or `.npz` of any program: mouth vertices in the corpus's unit."""

import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.mesh.files import is_mesh, read_mesh
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import missing
from learn2talk_core.untrusted.npz import array_header, read_npz
from learn2talk_core.untrusted.pickles import load_array

SIZES = (0.5, 2.0)  # accepted size of a mouth relative to the corpus's mean mouth; outside, the unit is a different one
LOOKED_AT = 32  # frames from which the size of a motion is measured
ALIKE = 0.8  # least likeness to the resting mouth of positions that are only in another unit
UNITS = (1.0, 10.0, 1000.0)  # usual values of millimetres per unit
SUFFIXES = (".npy", ".npz")


class Mouth(NamedTuple):
    """The part of a motion file that is scored.

    Attributes:
        vertices: (T, n, 3) float32 of the corpus's region `mouth`, in the corpus's unit.
        template: (n, 3) float32, the resting face.
        fps: frames per second.
        notes: what a reader of the score should know.
    """

    vertices: np.ndarray
    template: np.ndarray
    fps: float
    notes: tuple[str, ...]


def read_mouth(
    path: str | Path,
    corpus: Corpus,
    *,
    fps: float | None = None,
    mm_per_unit: float | None = None,
    template: str | Path | None = None,
) -> Mouth:
    """Read a motion and its resting face.

    Args:
        path: `.npy`, or `.npz` with `vertices` and, where known, `fps`, `mm_per_unit`, `template` (a speaker's name
            or positions) and `head` (T, 3, 4), the motion [R | t] of the head, which is removed. Vertices are
            (T, V, 3) or (T, 3 V) for the corpus's V vertices, or for those of its region `mouth` alone, in the order of
            their ids.
        corpus: the corpus with the same mesh.
        fps: frames per second; overrides the file's value.
        mm_per_unit: millimetres per unit of the file; overrides the file's value. Default: the corpus's unit.
        template: a speaker of the corpus, or an `.obj` or `.ply` in the unit of the file; overrides the file's value.
            Without either, the mean of the motion is used, with a note.

    Raises:
        BadInput: no such file, not numeric, another mesh, NaN, no frame rate, or an implausible size of the mouth.
    """
    path = Path(path)
    arrays = motion_arrays(path)
    vertices = _of_mouth(path, arrays["vertices"], corpus, frames=True)
    if not len(vertices):
        raise BadInput(path, expected="frames of motion", found="none", fix="Export the motion again.")
    finite = np.isfinite(vertices).all(axis=(1, 2))
    if not finite.all():
        where = f"{path}, frame {int(np.argmin(finite))}"
        raise BadInput(where, expected="finite positions", found="NaN or infinity", fix="Repair or cut the motion.")
    if "head" in arrays:
        vertices = _still(path, vertices, arrays["head"])
    rate = _number(path, "fps", fps, arrays)
    if rate is None:
        fix = "Give --fps, or save an .npz with vertices and fps."
        raise BadInput(path, expected="a frame rate", found="none", fix=fix)
    unit = _number(path, "mm_per_unit", mm_per_unit, arrays)
    scale = 1.0 if unit is None else unit / corpus.mm_per_unit
    rest = _template(path, arrays.get("template"), template, corpus, scale)
    mouths = [corpus.template(name, "mouth") for name in corpus.templates]
    typical = float(np.mean([mouth_mm(mouth, corpus.mm_per_unit) for mouth in mouths]))
    refuse_other_size(path, vertices, corpus.mm_per_unit if unit is None else unit, typical, rest=mouths[0])
    vertices = vertices * np.float32(scale)
    notes: tuple[str, ...] = ()
    if rest is None:
        rest = vertices.mean(axis=0)
        notes = ("no template: the mean of the motion is used as the resting face (--template)",)
    return Mouth(vertices, rest, rate, notes)


def mouth_mm(mouth: np.ndarray, mm_per_unit: float) -> float:
    """Diagonal in millimetres of the bounding box of a mouth or a face (n, 3)."""
    return float(np.linalg.norm(np.ptp(mouth, axis=0)) * mm_per_unit)


def refuse_other_size(
    path: str | Path,
    positions: np.ndarray,
    mm_per_unit: float,
    typical_mm: float,
    *,
    rest: np.ndarray | None = None,
    what: str = "mouth",
    sizes: tuple[float, float] = SIZES,
    units: Sequence[float] = UNITS,
) -> None:
    """Refuse displacements, and positions in another unit. The error names the unit that would fit; none is assumed.

    Args:
        path: the file that the error names.
        positions: (T, n, 3), of which up to `LOOKED_AT` frames are examined; those that are not finite are skipped.
        mm_per_unit: millimetres per unit.
        typical_mm: diagonal of the bounding box of the resting vertices, see `mouth_mm`.
        rest: (n, 3) resting positions in any unit and orientation; displacements are recognised because their shape
            differs from it.
        what: name of the vertices in the error.
        sizes: least and largest accepted size, relative to `typical_mm`.
        units: millimetres per unit that the error may propose.
    """
    frames = positions[np.unique(np.linspace(0, len(positions) - 1, LOOKED_AT).astype(int))].astype(np.float32)
    frames = frames[np.isfinite(frames).all(axis=(1, 2))]
    if not len(frames):
        return
    middle = np.median(frames, axis=0)
    found = mouth_mm(middle, mm_per_unit)
    centred = frames - frames.mean(axis=1, keepdims=True)
    least, most = np.percentile(centred, (5, 95), axis=0)  # a single broken frame must not count
    moves = float(np.linalg.norm(most - least, axis=1).max()) * mm_per_unit >= found  # no face moves by its own size
    if sizes[0] * typical_mm <= found <= sizes[1] * typical_mm and not moves:
        return
    displaced = moves or (rest is not None and _likeness(middle, rest) < ALIKE)
    fits = [mm for mm in units if sizes[0] * typical_mm <= found / mm_per_unit * mm <= sizes[1] * typical_mm]
    fix = "Give positions, not displacements, and --mm-per-unit."
    raise BadInput(
        path,
        expected=f"a {what} about {typical_mm:.0f} mm across",
        found=f"{found:.3g} mm at {mm_per_unit:g} mm per unit" + (": displacements" if displaced else ""),
        fix=f"--mm-per-unit {fits[0]:g} would fit." if fits and not displaced else fix,
    )


def _likeness(points: np.ndarray, others: np.ndarray) -> float:
    """Correlation of two shapes (n, 3) after the best rotation, 0 … 1."""
    a, b = ((some - some.mean(axis=0)).astype(np.float64) for some in (points, others))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum()) / norm if norm else 0.0


def motion_arrays(
    path: Path, names: Sequence[str] = ("fps", "mm_per_unit", "template", "head"), *, mapped: bool = False
) -> dict[str, np.ndarray]:
    """The arrays of a motion file by name: `vertices`, and of an `.npz` also those of `names` that it has.

    An `.npy` is memory-mapped. With `mapped`, so are the vertices of an uncompressed `.npz`; its checksum is then not
    verified, because that would read the whole file.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(path, expected="a name that ends in .npy or .npz", found=path.name, fix="Save it with NumPy.")
    if not path.is_file():
        raise missing(path, "check the path")
    if path.suffix.lower() == ".npy":
        return {"vertices": load_array(path, mmap=True)}
    expected, fix = "a whole .npz of numbers with vertices", "Save the motion again: np.savez(…, vertices=…, fps=…)."
    vertices = _mapped(path, "vertices.npy") if mapped else None
    if vertices is not None:
        return {"vertices": vertices, **read_npz(path, names, expected=expected, fix=fix)}
    return read_npz(path, ("vertices", *names), expected=expected, fix=fix, needed=("vertices",))


def _mapped(path: Path, name: str) -> np.ndarray | None:
    """An uncompressed array in a zip file, memory-mapped read-only; None if it is compressed or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(name)
            shape, fortran, dtype, header = array_header(archive, entry)
    except Exception:  # `read_npz` reports it
        return None
    whole = header + math.prod(shape) * dtype.itemsize == entry.file_size
    if dtype.hasobject or fortran or not whole or entry.compress_type != zipfile.ZIP_STORED:
        return None
    with path.open("rb") as file:  # the local header's length may differ from the directory's (APPNOTE 4.3.7)
        file.seek(entry.header_offset + 26)
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header
    if not math.prod(shape):
        return None
    return np.memmap(path, dtype, "r", start, shape)


def _of_mouth(where: object, array: np.ndarray, corpus: Corpus, *, frames: bool) -> np.ndarray:
    """The mouth's vertices, float32 (T, n, 3) or (n, 3), from an array in one of the layouts of `read_mouth`."""
    ids, count = corpus.topology.regions["mouth"], len(corpus.topology.colours)
    shapes = [(count, 3), (3 * count,), (len(ids), 3), (3 * len(ids),)]
    rest = array.shape[1:] if frames else array.shape
    if array.dtype.kind not in "fiu" or rest not in shapes:
        lead = "frames, " if frames else ""
        raise BadInput(
            where,
            expected=f"numbers of shape ({lead}{count}, 3), or ({lead}{len(ids)}, 3) for the mouth alone",
            found=f"{array.dtype} of shape {array.shape}",
            fix=f"Score it with a corpus of its own mesh (--corpus), not {corpus.folder}.",
        )
    points = array.reshape(*array.shape[:1] if frames else (), int(np.prod(rest)) // 3, 3)
    return np.array(points[..., ids, :] if points.shape[-2] == count else points, np.float32)


def _still(path: Path, vertices: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The vertices (T, n, 3) with the head motion [R | t] (T, 3, 4) removed."""
    if head.shape != (len(vertices), 3, 4) or head.dtype.kind != "f" or not np.isfinite(head).all():
        expected, found = f"finite numbers ({len(vertices)}, 3, 4)", f"{head.dtype} of shape {head.shape}"
        raise BadInput(f"{path}: head", expected=expected, found=found, fix="Save the motion again.")
    turn, shift = head[:, :, :3], head[:, None, :, 3]
    if np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max() > 1e-3:
        raise BadInput(f"{path}: head", expected="rotations", found="other matrices", fix="Save the motion again.")
    return ((vertices - shift) @ turn).astype(np.float32)


def _number(path: Path, name: str, given: float | None, arrays: dict[str, np.ndarray]) -> float | None:
    if given is None and name not in arrays:
        return None
    value = np.asarray(arrays[name] if given is None else given)
    if value.size != 1 or value.dtype.kind not in "fiu" or not np.isfinite(value).all() or value.item() <= 0:
        raise BadInput(f"{path}: {name}", expected="a number above 0", found=str(value)[:40], fix=f"Correct {name}.")
    return float(value.item())


def _template(
    path: Path, stored: np.ndarray | None, given: str | Path | None, corpus: Corpus, scale: float
) -> np.ndarray | None:
    """The resting mouth (n, 3) in the corpus's unit; None if none is given."""
    where = f"{path}: template" if given is None else "--template"
    if given is None and stored is None:
        return None
    if given is None and stored is not None and stored.dtype.kind != "U":
        positions = _of_mouth(where, stored, corpus, frames=False)
    else:
        name = str(stored) if given is None else str(given)
        if name in corpus.templates:
            return corpus.template(name, "mouth")
        if given is None or not is_mesh(name):  # a motion file must not name other files
            raise BadInput(
                where,
                expected=f"a speaker ({', '.join(list(corpus.templates)[:4])} …), or an .obj or .ply",
                found=name[:80],
                fix="Leave it out to use the mean of the motion.",
            )
        positions = _of_mouth(name, read_mesh(name)[0], corpus, frames=False)
    if not np.isfinite(positions).all():
        raise BadInput(where, expected="finite positions", found="NaN or infinity", fix="Export the face again.")
    return positions * np.float32(scale)
