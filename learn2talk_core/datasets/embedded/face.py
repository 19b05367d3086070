"""The head of the embedded corpora: a mesh with eyes, teeth and tongue, the face units that move it, and identities.

`face.npz` is a CC0 extract of MakeHuman's data; its source is in README.md here. Lengths are metres, x points
to the speaker's left (image right), y up, z out of the face; the origin lies between the eyes.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from learn2talk_core.datasets.embedded.speakers import Speaker
from learn2talk_core.mesh.topology import Topology

NOISE_WAVES = 40
SCAN_NOISE = 1e-4  # metres, root mean square of the displacement
TONGUE_TIP = "tongueTipUp"  # our own unit; the others are MakeHuman's
DETAILS_PER_SPEAKER = 12
REST_GAP = 2e-4  # metres between the lips of a neutral face
SKIN = (0.86, 0.66, 0.56)
LIPS = (0.86, 0.60, 0.62)  # factor on the skin colour
IRIS = (0.30, 0.22, 0.16)
BROW = (0.22, 0.15, 0.11)


@dataclass(frozen=True)
class Face:
    """The data of `face.npz`, and quantities derived from it.

    Attributes:
        base: (V, 3) float32, MakeHuman's base mesh.
        faces: (F, 3) int32.
        part: name → (V,) bool: skin, left_eye, right_eye, upper_teeth, lower_teeth, tongue.
        mask: name → (V,) float in 0..1, of the skin: lips, inside_mouth, eyelids, ears, face.
        unit: name → (V, 3) float32 displacement at weight 1.
        people: name → (V, 3) displacement of the base mesh to a person of some origin, gender and age.
        details: name → (V, 3) local changes of shape.
    """

    base: np.ndarray
    faces: np.ndarray
    part: dict[str, np.ndarray]
    mask: dict[str, np.ndarray]
    unit: dict[str, np.ndarray]
    people: dict[str, np.ndarray]
    details: dict[str, np.ndarray]

    @cached_property
    def neutral(self) -> np.ndarray:
        """The average young face, (V, 3) float32."""
        return self._aligned(self.base + np.mean([o for n, o in self.people.items() if n.endswith("young")], axis=0))

    @cached_property
    def basis(self) -> np.ndarray:
        """(K, V, 3) float32: the units in the order of `unit`, then waves of scan noise.

        The waves are smooth vector fields over the neutral face. Standard normal coefficients give a displacement of
        `SCAN_NOISE`.
        """
        rng = np.random.default_rng(0)
        directions = rng.normal(size=(2, NOISE_WAVES, 3))
        waves, shifts = directions / np.linalg.norm(directions, axis=2, keepdims=True)
        frequency = rng.uniform(60, 320, (NOISE_WAVES, 1))  # radians per metre: waves of 2 to 10 cm
        phase = rng.uniform(0, 2 * np.pi, NOISE_WAVES)
        height = np.sin(self.neutral @ (waves * frequency).T + phase).T * np.sqrt(2 / NOISE_WAVES)
        noise = SCAN_NOISE * height[:, :, None] * shifts[:, None, :]
        return np.concatenate([np.stack(list(self.unit.values())), noise]).astype(np.float32)

    @cached_property
    def lip_pairs(self) -> np.ndarray:
        """(P, 2): a pair every 5 mm where the closed lips meet: lowest vertex of the upper lip, highest of the lower.

        A vertex belongs to the lower lip if LowerDown moves it more than UpperUp.
        """
        raised = sum(np.linalg.norm(self.unit[f"mouthUpperUp{side}"], axis=1) for side in ("Left", "Right"))
        lowered = sum(np.linalg.norm(self.unit[f"mouthLowerDown{side}"], axis=1) for side in ("Left", "Right"))
        lips = np.zeros(len(self.base), bool)
        lips[self.regions["lips"]] = True
        x, y = self.neutral[:, 0], self.neutral[:, 1]
        pairs = []
        for column in np.arange(-0.015, 0.016, 0.005):
            near = lips & (np.abs(x - column) < 0.0015)
            upper, lower = np.nonzero(near & (raised > lowered))[0], np.nonzero(near & (raised <= lowered))[0]
            pairs.append((upper[y[upper].argmin()], lower[y[lower].argmax()]))
        return np.array(pairs, np.int64)

    @cached_property
    def regions(self) -> dict[str, np.ndarray]:
        """The regions of `Topology`, cut out of the neutral face."""
        x, y, z = self.neutral.T
        skin, inside = self.part["skin"], self.mask["inside_mouth"] > 0.5
        lips = skin & (self.mask["lips"] > 0.4)
        centre = self.neutral[lips].mean(0)
        around = np.hypot((x - centre[0]) / 0.034, (y - centre[1] + 0.006) / 0.030) < 1
        outside = skin & ~inside & (z > 0)
        cavity = inside | self.part["upper_teeth"] | self.part["lower_teeth"] | self.part["tongue"]
        in_view = (np.abs(x) < 0.064) & (np.abs(y - centre[1]) < 0.058) & (z > -0.045)
        upper_face = skin & (y > -0.018) & (z > 0) & (self.mask["ears"] < 0.1)
        chosen = {
            "lips": lips,
            "mouth": lips | (outside & around),
            "upper_face": upper_face,
            "mouth_view": cavity | (skin & in_view),
        }
        return {name: np.nonzero(mask)[0] for name, mask in chosen.items()}

    @cached_property
    def topology(self) -> Topology:
        """The mesh as the corpora use it, in the default colours."""
        return Topology(self.faces, self.regions, self.lip_pairs, colours())

    def identity(self, speaker: Speaker) -> np.ndarray:
        """A speaker's neutral face with closed lips, (V, 3) float32."""
        rng = np.random.default_rng([speaker.seed, 1])
        origins = dict(zip(("african", "asian", "caucasian"), rng.dirichlet([0.8] * 3), strict=True))
        female = 0.88 if speaker.female else 0.1
        old = rng.beta(1.2, 2.5)
        shape = self.base.astype(np.float64)
        for name, offset in self.people.items():
            origin, gender, age = name.split("-")
            of_gender = female if gender == "female" else 1 - female
            shape = shape + origins[origin] * of_gender * (old if age == "old" else 1 - old) * offset
        for name in rng.choice(list(self.details), DETAILS_PER_SPEAKER, replace=False):
            shape = shape + rng.uniform(0.1, 0.7) * self.details[name]
        return self._closed(self._aligned(shape))

    def vertices(self, template: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """(T, K) coefficients of `basis` on a template (V, 3) → (T, V, 3) float32."""
        offsets = coefficients.astype(np.float32) @ self.basis.reshape(len(self.basis), -1)
        return template + offsets.reshape(len(coefficients), -1, 3)

    def _aligned(self, vertices: np.ndarray) -> np.ndarray:
        eyes = self.part["left_eye"] | self.part["right_eye"]
        return (vertices - vertices[eyes].mean(0)).astype(np.float32)

    def _closed(self, template: np.ndarray) -> np.ndarray:
        """Close the lips of identities whose lips are open, with the unit `mouthClose` as far as needed."""
        upper, lower = self.lip_pairs.T
        gap = (template[upper] - template[lower])[:, 1]
        closing = (self.unit["mouthClose"][lower] - self.unit["mouthClose"][upper])[:, 1]
        weight = np.clip(np.max((gap - REST_GAP) / closing), 0, 0.12)
        return template + np.float32(weight) * self.unit["mouthClose"]


@cache
def load_face() -> Face:
    """Read `face.npz`."""
    with np.load(Path(__file__).with_name("face.npz"), allow_pickle=False) as stored:
        data = dict(stored)
    metres = float(data["quantum"])

    def offsets(kind: str, names: str) -> dict[str, np.ndarray]:
        return dict(zip(data[names].tolist(), (data[kind] * metres).astype(np.float32), strict=True))

    part = {name: data["part"] == i for i, name in enumerate(data["part_names"].tolist())}
    skin = part["skin"]
    masks = zip(data["mask_names"].tolist(), data["masks"] / 255, strict=True)
    units = offsets("units", "unit_names")
    units[TONGUE_TIP] = _tongue_tip(data["base"], part["tongue"])
    return Face(
        base=data["base"],
        faces=data["faces"].astype(np.int32),
        part=part,
        mask={name: np.where(skin, mask, 0) for name, mask in masks},
        unit=units,
        people=offsets("people", "people_names"),
        details=offsets("details", "detail_names"),
    )


def colours(rng: np.random.Generator | None = None) -> np.ndarray:
    """Albedo of every vertex, (V, 3) float32 RGB in 0..1; skin, lips, eyes and brows are random if `rng` is given.

    The inside of the mouth gets darker with depth and towards the cheeks, because little light reaches it.
    """
    face = load_face()
    x, y, z = face.neutral.T
    skin, lips, iris, brow = np.array(SKIN), np.array(LIPS), np.array(IRIS), np.array(BROW)
    if rng is not None:
        tone = rng.uniform(0.25, 1.05)
        skin = np.array([0.90, 0.70, 0.60]) * tone + np.array([0.14, 0.09, 0.06]) * (1 - tone)
        skin = skin * rng.uniform(0.95, 1.05, 3)
        lips = lips * rng.uniform(0.85, 1.08, 3)
        iris = np.array([[0.30, 0.22, 0.16], [0.20, 0.13, 0.08], [0.35, 0.45, 0.55], [0.33, 0.40, 0.28]])[
            rng.integers(4)
        ]
        brow = np.array([0.40, 0.28, 0.18]) * rng.uniform(0.2, 1.0)
    result = np.tile(skin, (len(x), 1))

    def paint(where: np.ndarray, colour: np.ndarray | tuple[float, ...]) -> None:
        weight = where.astype(float)[:, None]
        result[:] = result * (1 - weight) + weight * np.asarray(colour)

    paint(face.mask["lips"], skin * lips)
    result[:] *= 1 - 0.25 * face.mask["eyelids"][:, None]
    paint(face.mask["inside_mouth"], (0.24, 0.08, 0.08))
    paint(face.part["upper_teeth"] | face.part["lower_teeth"], (0.93, 0.91, 0.86))
    paint(face.part["tongue"], (0.66, 0.30, 0.30))
    for side, name in ((1, "left_eye"), (-1, "right_eye")):
        eye = face.neutral[face.part[name]]
        centre, radius = eye.mean(0), float(np.ptp(eye[:, 0]) / 2)
        from_axis = np.hypot(x - centre[0], y - centre[1]) / radius
        front = face.part[name] & (z > centre[2])
        paint(face.part[name], (0.95, 0.95, 0.93))
        paint(front & (from_axis < 0.52), iris)
        paint(front & (from_axis < 0.2), (0.04, 0.04, 0.04))
        along = (x - centre[0]) * side / (1.55 * radius)  # 0 above the pupil, grows towards the ear
        arch = centre[1] + radius * (1.02 + 0.26 * (1 - ((along - 0.25) / 1.1) ** 2))
        thickness = radius * 0.22 * np.clip(1.1 - 0.45 * along, 0.35, 1.3)
        ends = (1 - np.tanh(11 * (np.abs(along + 0.02) - 0.86))) / 2
        hair = ends * np.exp(-(((y - arch) / thickness) ** 2) / 2)
        paint(0.85 * hair * (face.part["skin"] & (z > centre[2] - 0.01)), brow)
    cavity = ~face.part["skin"] & ~face.part["left_eye"] & ~face.part["right_eye"] | (face.mask["inside_mouth"] > 0.5)
    depth = z[face.regions["lips"]].max() - z
    for far in ((depth - 0.016) / 0.035, (np.abs(x) - 0.011) / 0.014):
        result[cavity] *= np.clip(1 - far[cavity], 0.2, 1)[:, None]
    return np.clip(result, 0, 1).astype(np.float32)


def _tongue_tip(base: np.ndarray, tongue: np.ndarray) -> np.ndarray:
    """A unit that lifts the front of the tongue by 7 mm, for t d n l."""
    z = base[:, 2]
    front = np.clip((z - (z[tongue].max() - 0.025)) / 0.025, 0, 1) * tongue
    offset = np.zeros_like(base)
    offset[:, 1] = 0.007 * front**2 * (3 - 2 * front)
    return offset
