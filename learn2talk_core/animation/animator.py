"""A trained student as a tool: load it once, then animate files, waves and streams.

animator = load_animator()
animation = animator.animate("speech.wav")
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learn2talk_core.animation.animation import Animation, resample_states
from learn2talk_core.animation.blend_shapes import BlendShapes, embedded_shapes, load_shapes
from learn2talk_core.animation.head_motion import LOOK_AHEAD, HeadMotion, in_units, load_head_model, neck
from learn2talk_core.animation.life import Life
from learn2talk_core.audio.sound import SHORTEST, checked_wave, read_sound
from learn2talk_core.audio.voice import nearest_voice, voice_of
from learn2talk_core.audio.waveform import SAMPLE_RATE, from_int16, whole_frames
from learn2talk_core.checkpoints.faceformer import import_faceformer
from learn2talk_core.corpus.format import Corpus, open_corpus, sha256
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.files import read_mesh
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.mesh.transfer import (
    Correspondence,
    find_correspondence,
    load_correspondence,
    save_correspondence,
)
from learn2talk_core.models.posevae import PoseVAE
from learn2talk_core.models.students.faceformer import FaceFormer
from learn2talk_core.models.students.faceformer_streaming import RollOut
from learn2talk_core.models.students.student import OFFICIAL_EPS, audio_encoder, load_student, predict_states
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json
from learn2talk_core.run.recipe import refuse_other_recipe
from learn2talk_core.run.weights import frozen, load_config

MODEL, CORPUS = "data/models/student", "data/corpus"
AUTO = "auto"
WHOLE = 600 * SAMPLE_RATE  # samples; what is longer is encoded in chunks, so that time and memory stay linear
LONG_CHUNK, LONG_LOOK_AHEAD = 20.0, 2.0  # seconds
PIECE = 30 * SAMPLE_RATE  # samples of a long sound that a stream is fed at once, so that it holds no copy of all
STILL = Life()
VOICE_CLIPS = 8  # of each training speaker, for the choice of a style
Style = str | Mapping[str, float]


@dataclass(frozen=True)
class Animator:
    """A student and the faces that it can move; made by `load_animator`.

    Attributes:
        student: frozen.
        speakers: the training speakers, whose ways of speaking are the styles.
        fps: frames a second of the student's own motion.
        topology: of the faces.
        templates: faces at rest by speaker, (V, 3) float32.
        template: the one face to use, whatever the style; None takes that of the style's speaker.
        mm_per_unit: millimetres per unit of the faces.
        corpus: of the student's training, with the voices that a new one is compared with; None if it is not there.
        about: where the student comes from: `folder`, `sha256` of its weights, and its notes.
        correspondence: of the faces here with the student's own, where their topology is another one.
        blend_shapes: ARKit's shapes of the faces here, for blinks and gaze; None takes the embedded head's where the
            student's faces are that.
        head_model: PoseVAE's weights; None is the one that comes with this package.
    """

    student: FaceFormer
    speakers: tuple[str, ...]
    fps: float
    topology: Topology
    templates: Mapping[str, np.ndarray]
    template: np.ndarray | None
    mm_per_unit: float
    corpus: Corpus | None
    about: Mapping[str, Any] = field(default_factory=dict)
    correspondence: Correspondence | None = None
    blend_shapes: BlendShapes | None = None
    head_model: str | Path | None = None

    def animate(
        self,
        sound: str | Path | np.ndarray,
        *,
        style: Style = AUTO,
        fps: float | None = None,
        chunk: float | None = None,
        look_ahead: float = LONG_LOOK_AHEAD,
        life: Life = STILL,
    ) -> Animation:
        """Make the face speak.

        Args:
            sound: a file of any kind and rate, or a wave (samples,) of 16 kHz mono, floats in [-1, 1] or int16.
            style: see `style_weights`; "auto" takes the training speaker whose voice is the most like this one.
            fps: frames a second of the result, the student's own if None. States are interpolated at the frames'
                times, so the motion is never stretched.
            chunk: seconds; speech is encoded in pieces of this length, as `stream` does, to the same bits. None encodes
                ten minutes and less as a whole, and what is longer in chunks of 20 s.
            look_ahead: seconds of sound after a chunk that are heard with it.
            life: head motion, blinks and gaze; the states of the speech are the same with them.

        Returns:
            One frame for each 1 / fps seconds of the sound that are full, at least one.

        Raises:
            BadInput: the sound cannot be read or is shorter than 0.1 s; no such style; a rate of frames that is none;
                blinks or gaze for a mesh without shapes for them.
        """
        if isinstance(sound, np.ndarray):
            wave = checked_wave(sound, allow_silence=True)
        else:
            wave = read_sound(sound, allow_silence=True)
        weights = self.style_weights(style, wave)
        rate = _rate(fps, self.fps)
        if chunk is None and len(wave) > WHOLE:
            chunk = LONG_CHUNK
        if chunk is not None:
            stream = self.stream(rate, style=weights, chunk=chunk, look_ahead=look_ahead, states=True)
            pieces = [stream.feed(wave[start : start + PIECE]) for start in range(0, len(wave), PIECE)]
            states = np.concatenate([*pieces, stream.finish()])
        else:
            one = self._style_vector(weights)[None]
            own = predict_states(self.student, wave, self.fps, one, frame_count(len(wave), self.fps))[0].numpy()
            states = resample_states(own, self.fps, rate, range(frame_count(len(wave), rate)))
        face, head = self._still(weights, rate, life), None
        if life.head:
            head = HeadMotion(self._head, life.seed)
            head.hear(wave)
            head.finish()
        return replace(_alive(face, states, 0, life, head), wave=wave)

    def stream(
        self,
        fps: float | None = None,
        *,
        style: Style | None = None,
        chunk: float = 1.0,
        look_ahead: float = 0.4,
        past: float = 4.0,
        memory: float = 60.0,
        states: bool = False,
        life: Life = STILL,
    ) -> "Stream":
        """Animate sound while it comes in.

        Speech is encoded a chunk at a time, together with the sound just before and after. A frame is given as soon as
        its chunk and the look-ahead were fed: its delay is at most `chunk + look_ahead`, plus the time to compute.
        What comes out does not depend on how the samples are divided over the calls of `feed`, and is `animate` with
        the same `chunk` and `look_ahead` bit for bit.

        Args:
            fps: frames a second that come out; the student's own if None.
            style: as `animate`, but not "auto", since the voice is not known yet; None is the first training speaker.
            chunk: seconds that are encoded at once, up to 60.
            look_ahead: seconds of sound after the chunk that the encoder hears.
            past: seconds of sound before the chunk that it hears again.
            memory: seconds of motion that the decoder looks back on.
            states: give the decoder's states (t, d), which `Animation.states` holds, in place of vertices.
            life: as `animate`, to the same bits. Head motion needs a look-ahead of 1.66 s.

        The loudness, which the encoder wants normalised, is that of all the sound so far. Features of an official
        checkpoint are placed by their time stamps, which are those of its own code to within half a frame.
        """
        rate = _rate(fps, self.fps)
        if style == AUTO:
            raise BadInput("style", expected="a style by name", found=AUTO, fix="The voice is not known yet.")
        for name, value, low, high in (
            ("chunk", chunk, 1 / self.fps, 60.0),
            ("look_ahead", look_ahead, 0.0, 60.0),
            ("past", past, 0.0, 60.0),
            ("memory", memory, 1.0, 3600.0),
        ):
            if not low <= value <= high:
                raise BadInput(name, expected=f"{low:.3g} … {high:g} seconds", found=f"{value}", fix="Change it.")
        if life.head and look_ahead < LOOK_AHEAD:
            expected = f"at least {LOOK_AHEAD:g} seconds for head motion"
            raise BadInput("look_ahead", expected=expected, found=f"{look_ahead:g}", fix="Raise it, or leave the head.")
        weights = self.style_weights(self.speakers[0] if style is None else style)
        return Stream(
            self,
            weights,
            rate,
            chunk=chunk,
            look_ahead=look_ahead,
            past=past,
            memory=memory,
            states=states,
            life=life,
        )

    def style_weights(self, style: Style, wave: np.ndarray | None = None) -> dict[str, float]:
        """The weights of the training speakers that a style stands for; they sum to 1.

        Args:
            style: a training speaker; a mixture {"S00": 1, "S03": 2} or "S00=1,S03=2"; or "auto": the training speaker
                with the nearest long-term average spectrum (`audio.voice`) of those in the corpus.
            wave: (samples,) the voice, for "auto".
        """
        if style == AUTO:
            if not self.voices or wave is None:
                fix = f"Choose one of {', '.join(self.speakers)}."
                raise BadInput("style", expected="a corpus to compare the voice with", found="none", fix=fix)
            return {nearest_voice(wave, self.voices): 1.0}
        mixture = _mixture(style) if isinstance(style, str) else dict(style)
        unknown = [name for name in mixture if name not in self.speakers]
        if unknown:
            expected = f"one or a mixture of {', '.join(self.speakers)}"
            raise BadInput("style", expected=expected, found=unknown[0], fix="Choose one, or auto.")
        total = sum(mixture.values())
        if not (all(weight >= 0 for weight in mixture.values()) and 0 < total < math.inf):
            found = ", ".join(f"{name}={weight:g}" for name, weight in mixture.items())
            raise BadInput("style", expected="weights that are positive", found=found or "none", fix="Mend them.")
        return {name: weight / total for name, weight in mixture.items()}

    @cached_property
    def voices(self) -> dict[str, np.ndarray]:
        """What the training speakers sound like, by name; empty where the corpus is not there."""
        if self.corpus is None:
            return {}
        clips = self.corpus.split("train")
        own = {name: [clip for clip in clips if clip.speaker == name][:VOICE_CLIPS] for name in self.speakers}
        sounds = {name: [self.corpus.audio(clip) for clip in said] for name, said in own.items()}
        return {name: voice_of(np.concatenate(waves)) for name, waves in sounds.items() if waves}

    def face(self, weights: Mapping[str, float]) -> np.ndarray:
        """The face at rest (V, 3) that a style moves: the one given, else that of its heaviest speaker."""
        return self.templates[max(weights, key=weights.__getitem__)] if self.template is None else self.template

    @cached_property
    def _map(self) -> tuple[np.ndarray, np.ndarray]:
        """Basis (d, V, 3) and offset (V, 3) of the displacement of the faces here."""
        weight, bias = (getattr(self.student.vertice_map_r, name).detach().numpy() for name in ("weight", "bias"))
        basis, offset = np.ascontiguousarray(weight.T).reshape(weight.shape[1], -1, 3), bias.reshape(-1, 3)
        other = self.correspondence
        return (basis, offset) if other is None else (other.move(basis), other.move(offset))

    @cached_property
    def _head(self) -> PoseVAE:
        return load_head_model(self.head_model)

    def _deltas(self, names: Sequence[str]) -> np.ndarray:
        """Displacements (K, V, 3) float32 of the faces here at weight 1 of these blend shapes."""
        shapes, moved = self.blend_shapes, lambda deltas: deltas
        own = self.topology if self.corpus is None else self.corpus.topology
        if shapes is None and np.array_equal(own.faces, load_face().faces):
            shapes, moved = embedded_shapes(), moved if self.correspondence is None else self.correspondence.move
        if shapes is None:
            fix = "Give --shapes FILE.npz (docs/export.md), or leave --blinks and --gaze; --head moves any mesh."
            raise BadInput("life", expected="a mesh with shapes for eyelids and eyes", found="none", fix=fix)
        missing = [name for name in names if name not in shapes.names]
        if missing:
            fix = "Add it to --shapes, or leave --blinks or --gaze."
            raise BadInput("life", expected="a blend shape for each eye's motion", found=f"no {missing[0]}", fix=fix)
        if self.blend_shapes is not None and shapes.deltas.shape[1] != len(self.topology.colours):
            expected, found = f"shapes of {len(self.topology.colours)} vertices", f"{shapes.deltas.shape[1]}"
            raise BadInput("life", expected=expected, found=found, fix="Make them of the mesh that is animated.")
        return moved(shapes.deltas[[shapes.names.index(name) for name in names]])

    def _style_vector(self, weights: Mapping[str, float]) -> torch.Tensor:
        return torch.tensor([weights.get(name, 0.0) for name in self.speakers])

    def _still(self, weights: Mapping[str, float], fps: float, life: Life) -> Animation:
        """The face before it says anything."""
        (basis, offset), names = self._map, life.shapes()
        basis = np.concatenate([basis, self._deltas(names)]) if names else basis
        face = self.face(weights)
        return Animation(
            states=np.zeros((0, len(basis)), np.float32),
            basis=basis,
            offset=offset,
            template=face,
            fps=fps,
            mm_per_unit=self.mm_per_unit,
            topology=self.topology,
            wave=np.zeros(0, np.float32),
            shapes=names,
            pivot=neck(face, self.topology, self.mm_per_unit) if life.head else None,
        )


def _alive(face: Animation, states: np.ndarray, first: int, life: Life, head: HeadMotion | None) -> Animation:
    """The face with the student's states (t, d), of which the first is frame `first`, and what moves besides."""
    times = np.arange(first, first + len(states)) / face.fps
    pose = None if head is None else in_units(life.head * head.poses(times), face.mm_per_unit)
    return replace(face, states=np.concatenate([states, life.weights(times)], axis=1), pose=pose)


class Stream:
    """Sound in, frames out, chunk after chunk; made by `Animator.stream`, which says what the arguments are.

    Memory does not grow: it holds the sound of one chunk with its surroundings, and the keys and values of the frames
    that the decoder looks back on.

    Attributes:
        fps: frames a second that come out.
        face: what moves, an animation without frames.
        pose: of the frames that came last, as `Animation.pose`; None where the head stands still.
    """

    def __init__(
        self,
        animator: Animator,
        weights: Mapping[str, float],
        fps: float,
        *,
        chunk: float,
        look_ahead: float,
        past: float,
        memory: float,
        states: bool,
        life: Life,
    ) -> None:
        self.fps, self._own_fps = fps, animator.fps
        self._student, self._states = animator.student, states
        self._chunk, self._ahead, self._past, frames = (
            max(least, round(seconds * animator.fps))
            for least, seconds in ((1, chunk), (0, look_ahead), (0, past), (1, memory))
        )
        self.face, self._life = animator._still(weights, fps, life), life
        self.pose: np.ndarray | None = None
        self._head = HeadMotion(animator._head, life.seed) if life.head else None
        self._roll_out = RollOut(animator.student, animator._style_vector(weights), frames)
        self._fed = self._forgotten = 0  # samples: all, and those that are dropped
        self._made = self._given = 0  # frames: own ones, and those that came out
        self._held = np.zeros(0, np.float32)
        self._last = np.zeros((0, len(animator._map[0])), np.float32)  # the newest state, to interpolate from
        self._heard, self._sum, self._squares = 0, 0.0, 0.0  # of the samples that count for the loudness
        self._finished = False

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Hear more.

        Args:
            samples: (n,) 16 kHz mono, floats in [-1, 1] or int16; any number of them.

        Returns:
            (t, V, 3) float32, the frames that are ready now, perhaps none; or their states (t, d).

        Raises:
            BadInput: not finite or not one channel; the stream then is as it was.
        """
        if self._finished:
            raise ValueError("this stream is finished: open another one")
        samples = np.asarray(samples)
        if samples.ndim != 1 or (samples.dtype != np.int16 and samples.dtype.kind != "f"):
            found = f"{samples.dtype} {samples.shape}"
            raise BadInput("stream", expected="float or int16 (samples,)", found=found, fix="Mend what is fed.")
        samples = from_int16(samples) if samples.dtype == np.int16 else samples.astype(np.float32)
        if not np.isfinite(samples).all():
            raise BadInput("stream", expected="finite samples", found="NaN or infinity", fix="Mend what is fed.")
        samples = samples.clip(-1, 1)
        if self._head is not None:
            self._head.hear(samples)
        self._held = np.concatenate([self._held, samples])
        self._fed += len(samples)
        pieces = []
        while (end := self._samples(self._made + self._chunk + self._ahead)) <= self._fed:
            last = self._made + self._chunk
            pieces.append(self._output(self._speak(last, last + self._ahead, end), None))
        return self._shown(pieces)

    def finish(self) -> np.ndarray:
        """No more will come: the frames that are left, up to the end of the sound. As `feed` returns them."""
        pieces, total = [], frame_count(self._fed, self._own_fps) if self._fed else 0
        while not self._finished and self._made < total:
            last = min(self._made + self._chunk, total)
            until = min(self._made + self._chunk + self._ahead, total)
            end = min(self._samples(self._made + self._chunk + self._ahead), self._fed)
            states = self._speak(last, until, end)
            pieces.append(self._output(states, frame_count(self._fed, self.fps) if last == total else None))
        self._finished = True
        if self._head is not None:
            self._head.finish()
        return self._shown(pieces)

    def _samples(self, frame: int) -> int:
        """Where a frame begins."""
        return math.ceil(frame * SAMPLE_RATE / self._own_fps)

    @torch.no_grad()
    def _speak(self, last: int, until: int, end: int) -> np.ndarray:
        """States of the own frames up to `last`, with the sound up to the frame `until` and the sample `end`."""
        encoder, per_frame = audio_encoder(self._student), self._student.audio_rate
        first = max(0, self._made - self._past)
        wave = torch.from_numpy(self._normalised(round(first * SAMPLE_RATE / self._own_fps), end))
        features = encoder.conv_features(wave[None])
        features = encoder.resample(features, (until - first) * per_frame, self._own_fps * per_frame)
        hidden = encoder.encode(features)[0, (self._made - first) * per_frame : (last - first) * per_frame]
        self._made = last
        self._forget(round(max(0, last - self._past) * SAMPLE_RATE / self._own_fps))
        return self._roll_out.extend(hidden).numpy()

    def _normalised(self, begin: int, end: int) -> np.ndarray:
        new = self._held[self._heard - self._forgotten : end - self._forgotten].astype(np.float64)
        self._heard = max(self._heard, end)
        self._sum, self._squares = self._sum + new.sum(), self._squares + np.square(new).sum()
        mean = self._sum / self._heard
        variance = max(0.0, self._squares / self._heard - mean**2)
        eps = 1e-7 if self._student.alignment == "time" else OFFICIAL_EPS
        wave = (self._held[begin - self._forgotten : end - self._forgotten] - mean) / math.sqrt(variance + eps)
        return np.pad(wave, (0, max(0, SHORTEST - len(wave)))).astype(np.float32)

    def _forget(self, before: int) -> None:
        """Drop the samples that no later chunk hears, and keep those that count for no loudness yet."""
        before = min(before, self._heard)
        self._held = self._held[before - self._forgotten :] if before > self._forgotten else self._held
        self._forgotten = max(before, self._forgotten)

    def _output(self, states: np.ndarray, total: int | None) -> np.ndarray:
        """Own states at the rate that is wanted: all frames that surely end with the sound, or `total` at its end."""
        known = np.concatenate([self._last, states])
        stop, step = self._given, self._own_fps / self.fps
        if total is None:
            while stop * step <= self._made - 1 and (stop + 1) * step <= self._made:
                stop += 1
        else:
            stop = total
        shown = resample_states(known, self._own_fps, self.fps, range(self._given, stop), self._made - len(known))
        self._given = stop
        # frames that come out more slowly than the own ones may lie before the last state
        first = int(stop * step) - (self._made - len(known))
        self._last = known[max(0, min(first, len(known) - 1)) :]
        return shown

    def _shown(self, pieces: list[np.ndarray]) -> np.ndarray:
        states = np.concatenate([np.zeros((0, self._last.shape[1]), np.float32), *pieces])
        shown = _alive(self.face, states, self._given - len(states), self._life, self._head)
        self.pose = shown.pose
        return shown.states if self._states else shown.vertices()


def load_animator(
    model: str | Path = MODEL,
    *,
    corpus: str | Path | None = CORPUS,
    template: str | Path | None = None,
    transfer: str | Path | None = None,
    mm_per_unit: float = 1000.0,
    shapes: str | Path | None = None,
    head_model: str | Path | None = None,
) -> Animator:
    """Load a student.

    Args:
        model: a folder of this project (`data/models/student`, a packed model, what `learn2talk import-checkpoint`
            wrote), or a published FaceFormer, `vocaset.pth` or `biwi.pth`.
        corpus: that the student was trained on: its faces, topology and voices. Where it is missing or None, a
            `template` in a file is needed, and styles are given by name.
        template: the face: a speaker of the corpus, or an `.obj` or `.ply` in the model's topology. None takes the face
            of the style's speaker.
        transfer: a file with the correspondence of a `template` in another topology with the corpus's first training
            speaker (`mesh.transfer`); where there is none it is computed, in seconds, and written.
        mm_per_unit: of a template without a corpus.
        shapes: an `.npz` with ARKit's blend shapes of the face (`export.arkit.load_shapes`), for blinks and gaze; the
            embedded head has its own.
        head_model: PoseVAE's weights (`head_motion.load_head_model`); None is the one that comes with this package.

    Raises:
        BadInput: no such model, speaker or file; a template of another topology, or in another unit.
    """
    if not 0 < mm_per_unit < math.inf:
        fix = "1000 is metres, 1 is millimetres."
        raise BadInput("mm_per_unit", expected="a positive number", found=f"{mm_per_unit:g}", fix=fix)
    model, about = Path(model), dict[str, Any]()
    mesh = read_mesh(template) if template is not None and Path(template).suffix in (".obj", ".ply") else None
    opened = None
    if corpus is not None and (mesh is None or (Path(corpus) / "corpus.json").is_file()):
        opened = open_corpus(corpus)
    if model.is_file():
        student, speakers = import_faceformer(model)
        frozen(student)
        fps, about = float(student.period), {"folder": model.name, "sha256": sha256(model)}
    else:
        config = load_config(model, made_by="make repro")
        student, speakers = load_student(model, made_by="make repro")
        fps = config["fps"]
        about = {"folder": str(model), "sha256": sha256(model / "model.safetensors"), "notes": config["notes"]}
        if (model / "learn2talk.json").is_file():
            about["commit"] = read_json(model / "learn2talk.json", made_by="learn2talk pack").get("commit")
    vertices = student.vertice_map_r.out_features // 3
    if opened is not None and mesh is not None and transfer is None and len(opened.topology.colours) != vertices:
        opened = None  # the corpus is of another face than the model and the template
    if opened is not None:
        refuse_other_recipe(model, about.get("notes", {}).get("recipe"), opened.recipe)
        if len(opened.topology.colours) != vertices:
            found = f"{len(opened.topology.colours)} in {opened.folder}"
            fix = "Give the corpus of its training, or --template head.obj in its topology."
            raise BadInput(model, expected=f"a face of {vertices} vertices", found=found, fix=fix)
    correspondence = None
    if mesh is not None and transfer is not None and opened is not None:
        correspondence = _correspondence(transfer, opened.templates[speakers[0]], opened.topology.faces, mesh)
    elif mesh is not None:
        _check_template(str(template), mesh, vertices, opened)
    elif opened is None:
        fix = "Give --template head.obj in the model's topology."
        raise BadInput(model, expected="a face", found="neither a corpus nor a template", fix=fix)
    elif template is not None and str(template) not in opened.templates:
        fix = f"Choose one of {', '.join(opened.templates)}, or a file .obj or .ply."
        raise BadInput("template", expected="a speaker of the corpus, or a file", found=str(template), fix=fix)
    face = None if mesh is None else mesh[0]
    if opened is not None and face is None and template is not None:
        face = opened.templates[str(template)]
    if opened is not None and face is None and not set(speakers) <= set(opened.templates):
        fix = "Give a template: a speaker of the corpus or a file."
        raise BadInput(corpus, expected=f"the faces of {', '.join(speakers)}", found="others", fix=fix)
    topology, unit = (_plain(mesh), mm_per_unit) if opened is None else (opened.topology, opened.mm_per_unit)
    if correspondence is not None and mesh is not None:
        topology, unit = correspondence.topology(topology, mesh[1]), unit / correspondence.scale
    return Animator(
        student=student,
        speakers=speakers,
        fps=fps,
        topology=topology,
        templates=opened.templates if opened is not None else {},
        template=face,
        mm_per_unit=unit,
        corpus=opened,
        about=about,
        correspondence=correspondence,
        blend_shapes=None if shapes is None else load_shapes(shapes),
        head_model=head_model,
    )


def frame_count(samples: int, fps: float) -> int:
    """Frames that a sound of so many samples at 16 kHz has: those that end with it or before, at least one."""
    return max(1, whole_frames(samples, fps))


def _check_template(path: str, mesh: tuple[np.ndarray, np.ndarray], vertices: int, corpus: Corpus | None) -> None:
    """Refuse a mesh that the model's displacements do not fit."""
    positions, faces = mesh
    fix = "Export the head in the model's topology with the order of its vertices kept, or give --transfer FILE.npz."
    if len(positions) != vertices:
        raise BadInput(path, expected=f"{vertices} vertices, as the model", found=f"{len(positions)}", fix=fix)
    if corpus is None:
        return
    own, given = ({frozenset(face) for face in some.tolist()} for some in (corpus.topology.faces, faces))
    if len(faces) != len(corpus.topology.faces) or own != given:
        found = f"{len(faces)}, of which {len(own & given)} are the model's"
        raise BadInput(path, expected=f"the {len(own)} triangles of the model", found=found, fix=fix)
    size = float(np.mean([np.ptp(face, axis=0).max() for face in corpus.templates.values()]))
    ratio = float(np.ptp(positions, axis=0).max()) / size
    if not 0.5 < ratio < 2:
        fix = f"Scale it by {1 / ratio:.3g}: the unit is {corpus.mm_per_unit:g} mm."
        raise BadInput(path, expected=f"a head about {size:.3g} high", found=f"{ratio * size:.3g}", fix=fix)


def _correspondence(
    path: str | Path, old: np.ndarray, old_faces: np.ndarray, mesh: tuple[np.ndarray, np.ndarray]
) -> Correspondence:
    if not Path(path).is_file():
        save_correspondence(path, find_correspondence(old, old_faces, *mesh))
    return load_correspondence(path, len(old), len(mesh[0]))


def _plain(mesh: tuple[np.ndarray, np.ndarray] | None) -> Topology:
    """What a mesh alone tells: no regions, grey."""
    assert mesh is not None
    positions, faces = mesh
    colours = np.full((len(positions), 3), 0.7, np.float32)
    return Topology(faces=faces, regions={}, lip_pairs=np.zeros((0, 2), np.int64), colours=colours)


def _mixture(text: str) -> dict[str, float]:
    """Of `S00`, or of `S00=1,S03=2`."""
    if "=" not in text:
        return {text: 1.0}
    parts = [part.split("=") for part in text.split(",")]
    with suppress(ValueError):
        mixture = {name.strip(): float(weight) for name, weight in parts}
        if len(mixture) == len(parts):
            return mixture
    fix = "Write a name and a number for each, once."
    raise BadInput("style", expected="such as S00=0.5,S03=0.5", found=text, fix=fix)


def _rate(fps: float | None, own: float) -> float:
    rate = own if fps is None else float(fps)
    if not 1 <= rate <= 1000:
        raise BadInput("fps", expected="1 … 1000 frames a second", found=f"{rate:g}", fix="24, 25, 30, 60 and 120 do.")
    return rate
