"""A trained student as a tool: load it once (`loading.load_animator`), then animate files, waves and streams."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learn2talk_core.animation.animation import Animation, directions_of, frame_count, resample_states
from learn2talk_core.animation.blend_shapes import BlendShapes, embedded_shapes
from learn2talk_core.animation.characters import DEFAULT, load_character
from learn2talk_core.animation.head_motion import LOOK_AHEAD, HeadMotion, load_head_model, neck
from learn2talk_core.animation.life import Life
from learn2talk_core.animation.stream import Stream, alive
from learn2talk_core.audio.sound import checked_wave, read_sound
from learn2talk_core.audio.voice import nearest_voice, voice_of
from learn2talk_core.audio.waveform import SAMPLE_RATE
from learn2talk_core.corpus.format import Clip, Corpus
from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.mesh.look import Look
from learn2talk_core.mesh.topology import Topology
from learn2talk_core.mesh.transfer import Correspondence
from learn2talk_core.models.posevae import PoseVAE
from learn2talk_core.models.students.student import Student
from learn2talk_core.run.errors import BadInput

AUTO = "auto"
WHOLE = 600 * SAMPLE_RATE  # samples; longer sounds are encoded in chunks, so that time and memory stay linear
LONG_CHUNK, LONG_LOOK_AHEAD = 20.0, 2.0  # seconds
PIECE = 30 * SAMPLE_RATE  # samples of a long sound fed to a stream at once, so that it never holds a full copy
STILL = Life()
VOICE_CLIPS = 8  # per training speaker, to compare voices with
Style = str | Mapping[str, float]


def voice_clips(corpus: Corpus, speakers: Sequence[str]) -> dict[str, list[Clip]]:
    """The training clips by which the voices of these speakers are known."""
    clips = corpus.split("train")
    return {name: [clip for clip in clips if clip.speaker == name][:VOICE_CLIPS] for name in speakers}


@dataclass(frozen=True)
class Animator:
    """A student and the faces that it can move; made by `load_animator`.

    Attributes:
        student: the network, frozen.
        speakers: the training speakers; each is a style.
        fps: frame rate of the student's motion.
        topology: topology of the animated faces.
        templates: neutral faces by speaker, (V, 3) float32.
        template: the face to use for every style; None uses the one of the style's speaker.
        mm_per_unit: millimetres per unit of the faces.
        corpus: the corpus that the student was trained on, whose voices new ones are compared with; None if missing.
        about: origin of the student: `folder`, `sha256` of its weights, and its notes.
        correspondence: from the student's faces to the animated ones, if these have another topology.
        blend_shapes: ARKit shapes of the animated faces, for blinks and gaze; None uses those of the embedded head if
            the student's faces have its mesh.
        head_model: PoseVAE's weights; None uses those in this package.
        look: parts and texture of the faces, if they have them.
        follow: (V,) share of the head's motion that each vertex takes; None is all.
    """

    student: Student
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
    look: Look | None = None
    follow: np.ndarray | None = None

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
        """Animate the face from speech.

        Args:
            sound: a file of any format and sample rate, or a wave (samples,), 16 kHz mono, float in [-1, 1] or int16.
            style: see `style_weights`; "auto" takes the training speaker with the most similar voice.
            fps: frame rate of the result; None uses the student's. States are interpolated at the times of the frames,
                so the motion is never stretched.
            chunk: seconds; speech is encoded in pieces of this length, byte-identical to `stream`. None encodes up to
                ten minutes as a whole, and longer sounds in chunks of 20 s.
            look_ahead: seconds of sound after each chunk that are encoded with it.
            life: head motion, blinks and gaze; they do not change the states of the speech.

        Returns:
            One frame for each complete 1 / fps seconds of the sound, at least one.

        Raises:
            BadInput: the sound cannot be read or is shorter than 0.1 s; unknown style; invalid frame rate; blinks or
                gaze for a mesh without the blend shapes they need.
        """
        if isinstance(sound, np.ndarray):
            wave = checked_wave(sound, allow_silence=True)
        else:
            wave = read_sound(sound, allow_silence=True)
        weights = self.style_weights(style, wave)
        rate = _rate(fps, self.fps)
        if chunk is None and len(wave) > WHOLE and self.student.can_stream:
            chunk = LONG_CHUNK
        directions = None
        if chunk is not None:
            stream = self.stream(rate, style=weights, chunk=chunk, look_ahead=look_ahead, states=True)
            pieces = [stream.feed(wave[start : start + PIECE]) for start in range(0, len(wave), PIECE)]
            states = np.concatenate([*pieces, stream.finish()])
        else:
            one = self._style_vector(weights)[None]
            frames = frame_count(len(wave), self.fps)
            own = self.student.predict_states(wave, self.fps, one, frames, self._student_face(weights))[0].numpy()
            if self.student.affine_map() is None:
                own, directions = directions_of(own)
            states = resample_states(own, self.fps, rate, range(frame_count(len(wave), rate)))
        face, head = self._still(weights, rate, life, directions), None
        if life.head:
            head = HeadMotion(self._head, life.seed)
            head.hear(wave)
            head.finish()
        return replace(alive(face, states, 0, life, head), wave=wave)

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
    ) -> Stream:
        """Animate sound while it arrives.

        Speech is encoded chunk by chunk, together with the sound just before and after. A frame is returned as soon as
        its chunk and the look-ahead have been fed: its delay is at most `chunk + look_ahead`, plus computing time.
        The output does not depend on how the samples are divided over the calls of `feed`, and is byte-identical to
        `animate` with the same `chunk` and `look_ahead`.

        Args:
            fps: frame rate of the output; None uses the student's.
            style: as in `animate`, but not "auto", since the voice is not known yet; None is the first training
                speaker.
            chunk: seconds encoded at once, up to 60.
            look_ahead: seconds of sound after the chunk that the encoder also receives.
            past: seconds of sound before the chunk that the encoder receives again.
            memory: seconds of past motion that the decoder attends to.
            states: return the decoder's states (t, d), as in `Animation.states`, instead of vertices.
            life: as in `animate`, with byte-identical results. Head motion needs a look-ahead of 1.66 s.

        The encoder's input is scaled by all the sound so far: by its mean and variance for wav2vec 2.0, by its loudest
        level for Whisper. Features of an official checkpoint are placed by their time stamps, which agree with its own
        code to within half a frame.
        """
        rate = _rate(fps, self.fps)
        if style == AUTO:
            fix = "Name a training speaker: the voice is not known yet when a stream starts."
            raise BadInput("style", expected="a style by name", found=AUTO, fix=fix)
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
            raise BadInput(
                "look_ahead", expected=expected, found=f"{look_ahead:g}", fix="Raise it, or turn head motion off."
            )
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
        """Convert a style to weights of the training speakers, which sum to 1.

        Args:
            style: a training speaker; a mixture {"S00": 1, "S03": 2} or "S00=1,S03=2"; or "auto": the training speaker
                in the corpus whose long-term average spectrum (`audio.voice`) is nearest.
            wave: (samples,) the voice; needed for "auto".
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
            raise BadInput(
                "style", expected="weights ≥ 0 with a positive sum", found=found or "none", fix="Correct them."
            )
        return {name: weight / total for name, weight in mixture.items()}

    @cached_property
    def voices(self) -> dict[str, np.ndarray]:
        """Voice descriptors of the training speakers by name; empty without a corpus."""
        if self.corpus is None:
            return {}
        own = voice_clips(self.corpus, self.speakers)
        sounds = {name: [self.corpus.audio(clip) for clip in said] for name, said in own.items()}
        return {name: voice_of(np.concatenate(waves)) for name, waves in sounds.items() if waves}

    def face(self, weights: Mapping[str, float]) -> np.ndarray:
        """The neutral face (V, 3) for a style: `template`, or if None that of the speaker with the largest weight."""
        return self.templates[_heaviest(weights)] if self.template is None else self.template

    def _student_face(self, weights: Mapping[str, float]) -> np.ndarray:
        """The neutral face (V, 3) in the student's own topology."""
        if self.correspondence is None:
            return self.face(weights)
        name = _heaviest(weights)
        return self.templates[name] if name in self.templates else self.face(weights)[: self.student.vertex_count]

    @cached_property
    def _map(self) -> tuple[np.ndarray, np.ndarray]:
        """Basis (d, V, 3) and offset (V, 3) of the animated faces' displacement, for a student with an affine map."""
        weight, bias = self.student.map_arrays()
        if weight is None or bias is None:
            network = self.student.network
            expected, found = "a student whose vertices are affine in its states", "another network"
            raise BadInput(f"a stream of {network}", expected=expected, found=found, fix="Use learn2talk animate.")
        return self._moved(weight), self._moved(bias)

    def _moved(self, displacements: np.ndarray) -> np.ndarray:
        """Displacements (…, 3V) of the student's own face, as those of the animated faces (…, V', 3)."""
        own = np.ascontiguousarray(displacements).reshape(*displacements.shape[:-1], -1, 3)
        return own if self.correspondence is None else self.correspondence.move(own)

    @cached_property
    def _head(self) -> PoseVAE:
        return load_head_model(self.head_model)

    @cached_property
    def arkit(self) -> BlendShapes | None:
        """ARKit's shapes of the animated faces: `blend_shapes`, or those of the embedded head; None if unknown."""
        if self.blend_shapes is not None:
            if self.blend_shapes.deltas.shape[1] != len(self.topology.colours):
                expected = f"shapes of {len(self.topology.colours)} vertices"
                found = f"{self.blend_shapes.deltas.shape[1]}"
                raise BadInput(
                    "--shapes", expected=expected, found=found, fix="Make them for the mesh that is animated."
                )
            return self.blend_shapes
        if not self.moves_embedded_head:
            return None
        own = embedded_shapes()
        return own if self.correspondence is None else BlendShapes(own.names, self.correspondence.move(own.deltas))

    @property
    def moves_embedded_head(self) -> bool:
        """Whether the student was trained on the embedded head, whose blend shapes we know."""
        if self.corpus is not None:
            return np.array_equal(self.corpus.topology.faces, load_face().faces)
        if self.correspondence is not None:
            return self.look is not None
        return np.array_equal(self.topology.faces, load_face().faces)

    def as_character(self, name: str) -> "Animator":
        """The same student with a packaged character as its face."""
        if not self.moves_embedded_head:
            expected = "a model of the embedded head for a packaged character"
            fix = "Give another face: a speaker of the corpus, or a mesh with --transfer."
            raise BadInput("--face", expected=expected, found=f"{self.student.vertex_count} vertices", fix=fix)
        character = load_character(name)
        return replace(
            self,
            topology=character.topology,
            template=character.template,
            mm_per_unit=1000.0,
            correspondence=character.correspondence,
            blend_shapes=None,
            look=character.look,
            follow=character.follow,
        )

    def pictured(self) -> "Animator":
        """The same student as one looks at it, where no face was asked for: with the default character, if it can."""
        return self.as_character(DEFAULT) if self.moves_embedded_head and self.blend_shapes is None else self

    def _deltas(self, names: Sequence[str]) -> np.ndarray:
        """Displacements (K, V, 3) float32 of the animated faces at weight 1 of these blend shapes."""
        shapes = self.arkit
        if shapes is None:
            fix = "Give --shapes FILE.npz (docs/export.md), or omit --blinks and --gaze; --head works with any mesh."
            raise BadInput("life", expected="a mesh with blend shapes for eyelids and eyes", found="none", fix=fix)
        missing = [name for name in names if name not in shapes.names]
        if missing:
            fix = "Add it to --shapes, or omit --blinks or --gaze."
            raise BadInput(
                "life", expected="a blend shape for each motion of the eyes", found=f"no {missing[0]}", fix=fix
            )
        return shapes.deltas[[shapes.names.index(name) for name in names]]

    def _style_vector(self, weights: Mapping[str, float]) -> torch.Tensor:
        return torch.tensor([weights.get(name, 0.0) for name in self.speakers])

    def _still(
        self, weights: Mapping[str, float], fps: float, life: Life, directions: np.ndarray | None = None
    ) -> Animation:
        """An animation without frames; `directions` (r, 3V) are those of the clip if the student has no affine map."""
        if directions is None:
            basis, offset = self._map
        else:
            basis, offset = self._moved(directions), self._moved(np.zeros_like(directions[0]))
        names = life.shapes()
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
            follow=self.follow,
            look=self.look,
            arkit=self.arkit,
        )


def _heaviest(weights: Mapping[str, float]) -> str:
    return max(weights, key=weights.__getitem__)


def _mixture(text: str) -> dict[str, float]:
    """Parse `S00` or `S00=1,S03=2`."""
    if "=" not in text:
        return {text: 1.0}
    parts = [part.split("=") for part in text.split(",")]
    with suppress(ValueError):
        mixture = {name.strip(): float(weight) for name, weight in parts}
        if len(mixture) == len(parts):
            return mixture
    fix = "Write NAME=NUMBER for each speaker, each name once."
    raise BadInput("style", expected="a mixture such as S00=0.5,S03=0.5", found=text, fix=fix)


def _rate(fps: float | None, own: float) -> float:
    rate = own if fps is None else float(fps)
    if not 1 <= rate <= 1000:
        raise BadInput(
            "fps", expected="1 … 1000 frames per second", found=f"{rate:g}", fix="Common rates are 24, 25, 30, 60, 120."
        )
    return rate
