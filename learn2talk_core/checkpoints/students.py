"""What the published files of all student networks share: the datasets they were trained on, and a corpus that fits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor
from transformers import Wav2Vec2Config

from learn2talk_core.checkpoints.wav2vec2 import config_dict, encoder_from, read_config
from learn2talk_core.corpus import published_speakers
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.speech_encoders.encoder import SpeechEncoder
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.students.student import AudioAlignment, Student
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file, write_json
from learn2talk_core.run.own_folder import EXPORT
from learn2talk_core.run.weights import load_config, load_network
from learn2talk_core.untrusted.published import State

OTHER_CORPUS = "Use it on the corpus that it was trained on."
# What published files were trained on: frame rate, vertices, and the speakers in the style one-hot's order.
PUBLISHED: dict[AudioAlignment, tuple[int, int, tuple[str, ...]]] = {
    "vocaset": (30, 5023, published_speakers.VOCASET),
    "biwi": (25, 23370, published_speakers.BIWI),
}
# Range of the two datasets' units in millimetres: metres, and the unit in which a face has area 1 (174 to 201 mm).
UNIT_MM: dict[AudioAlignment, tuple[float, float]] = {"vocaset": (1000, 1000), "biwi": (150, 250)}
Network = TypeVar("Network", bound=Student)


class Fit(NamedTuple):
    """The corpus that weights are to be used with; what is None is not compared.

    Attributes:
        speakers: training speakers; their number must be that of the styles. If they are those of the published file
            in a different order, the file's order is kept.
        vertices: number of vertices of its mesh.
        fps: its frame rate.
    """

    speakers: Sequence[str] | None = None
    vertices: int | None = None
    fps: float | None = None


ANY = Fit()


def fit_of(corpus: Corpus) -> Fit:
    """What weights for `corpus` must fit."""
    return Fit(corpus.train_speakers, len(corpus.topology.colours), corpus.fps)


def refuse_misfit(path: object, fit: Fit, *, styles: int, vertices: int, rate: float) -> None:
    """Refuse weights for another number of styles, of vertices, or another frame rate than those of a corpus.

    Args:
        path: the file of weights, for errors.
        fit: the corpus.
        styles, vertices, rate: of the weights.
    """
    if fit.vertices is not None and fit.vertices != vertices:
        expected = f"a face of {fit.vertices} vertices"
        raise BadInput(path, expected=expected, found=f"one of {vertices}", fix=OTHER_CORPUS)
    if fit.speakers is not None and len(fit.speakers) != styles:
        expected = f"{len(fit.speakers)} styles, one per training speaker of the corpus"
        raise BadInput(path, expected=expected, found=str(styles), fix=OTHER_CORPUS)
    if fit.fps is not None and fit.fps != rate:
        expected = f"weights for {fit.fps:g} frames per second"
        raise BadInput(path, expected=expected, found=f"for {rate:g}", fix=OTHER_CORPUS)


def in_published_order(
    path: object, alignment: AudioAlignment, styles: int, speakers: Sequence[str] | None
) -> tuple[str, ...]:
    """The speakers in the order of the style one-hot: the published order if they are the published speakers.

    Raises:
        BadInput: no corpus names the speakers, and their number is not that of the published ones.
    """
    published = PUBLISHED[alignment][2]
    if speakers is None and styles != len(published):
        fix = "Name its corpus: --corpus FOLDER."
        raise BadInput(path, expected=f"{len(published)} styles, as published", found=f"{styles}", fix=fix)
    return published if speakers is None or set(speakers) == set(published) else tuple(speakers)


def student_of_folder(network: type[Network], source: Path, corpus: Corpus) -> tuple[Network, tuple[str, ...]]:
    """A model folder of this project, for the speakers, mesh and recipe of `corpus`; any other is refused."""
    about = load_config(source, made_by="make repro")
    if (found := about.get("network", "faceformer")) != network.network:
        fix = f"Name a folder with a {network.__name__}."
        raise BadInput(source, expected=f"a {network.__name__}", found=f"a {found}", fix=fix)
    # published weights without styles, which were imported without a corpus, fit any speakers
    any_speakers = not network.has_styles and "recipe" not in about["notes"]
    own = list(corpus.train_speakers) if any_speakers else about["speakers"]

    def build(config: dict[str, Any]) -> Network:
        return network.from_settings({**config, "style_count": len(own)})

    model, speakers = load_network(source, build, made_by="make repro")[0], tuple(own)
    refuse_misfit(source, fit_of(corpus), styles=len(speakers), vertices=model.vertex_count, rate=about["fps"])
    if set(speakers) != set(corpus.train_speakers):
        expected = f"the training speakers of the corpus, {', '.join(corpus.train_speakers)}"
        raise BadInput(source, expected=expected, found=", ".join(speakers), fix=OTHER_CORPUS)
    recipe = about["notes"].get("recipe", corpus.recipe)
    if recipe != corpus.recipe:
        raise BadInput(source, expected=f"a model for {corpus.recipe}", found=f"for {recipe}", fix=OTHER_CORPUS)
    return model, speakers


def refuse_other_unit(source: object, alignment: AudioAlignment, corpus: Corpus) -> None:
    """Refuse a corpus in another unit than that of the dataset that published weights were trained on."""
    if alignment == "time" or len(corpus.topology.colours) != PUBLISHED[alignment][1]:
        return
    low, high = UNIT_MM[alignment]
    if not low <= corpus.mm_per_unit <= high:
        raise BadInput(
            source,
            expected=f"a corpus of {low:g} to {high:g} mm per unit, as in the training of these weights",
            found=f"{corpus.mm_per_unit:g} mm ({corpus.recipe})",
            fix="Prepare the corpus as for the weights: VOCASET in metres, BIWI with faces of unit area.",
        )


def alignment_of(state: State, vertices: int, path: Path, fix: str) -> AudioAlignment:
    """How audio was aligned with frames in training: the published code ties this, like the period, to the dataset.

    Args:
        state: the weights; the position table `PPE.pe` tells the period, without it the number of vertices does.
        vertices: V.
        path, fix: for errors.
    """
    if "PPE.pe" in state:
        period = _period(state["PPE.pe"])
    else:
        period = PUBLISHED["biwi"][0] if vertices == PUBLISHED["biwi"][1] else PUBLISHED["vocaset"][0]
    for name, (rate, _, _) in PUBLISHED.items():
        if rate == period:
            return name
    raise BadInput(path, expected="a period of 25 (BIWI) or 30 frames (VOCASET)", found=str(period), fix=fix)


def _period(table: Tensor) -> int:
    """The number of frames after which the position table (1, n, d) repeats itself."""
    rows = table.reshape(-1, table.shape[-1])
    same = (rows[1:] - rows[0]).abs().amax(1) < 1e-4
    return int(same.float().argmax()) + 1 if bool(same.any()) else len(rows)


def encoder_in(
    state: State, path: Path, config: str | Path | None = None, prefix: str = "audio_encoder."
) -> Wav2Vec2SpeechEncoder:
    """The speech encoder among the weights of a student; `config` as for `encoder_from`. Without it, the file is used
    that `exported` wrote beside the weights."""
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if config is None and _config_beside(path).is_file():
        config = _config_beside(path)
    return encoder_from(inner, path, None if config is None else read_config(config))


def exportable(encoder: SpeechEncoder, whose: str) -> Wav2Vec2SpeechEncoder:
    """The speech encoder of a student that is to be written for the published code of `whose`; only wav2vec 2.0 can."""
    if not isinstance(encoder, Wav2Vec2SpeechEncoder):
        fix = f"Train a student on a wav2vec 2.0: {whose}'s code has no other."
        raise BadInput(
            "export", expected="a student whose speech encoder is wav2vec 2.0", found=encoder.model_type, fix=fix
        )
    return encoder


@contextmanager
def exported(out: str | Path, encoder: Wav2Vec2SpeechEncoder) -> Iterator[Path]:
    """`whole_file` for exported weights; `OUT.config.json` for their speech encoder is written after them.

    Raises:
        BadInput: a file of that name exists without the weights, so that no export wrote it.
    """
    out = Path(out)
    beside = _config_beside(out)
    if beside.exists() and not out.exists():
        found, fix = "another file, which would be lost", "Name another output file, or move this one away."
        raise BadInput(beside, expected=f"the file that {EXPORT} wrote with {out.name}, or none", found=found, fix=fix)
    with whole_file(out) as partial:
        yield partial
    write_json(beside, config_dict(encoder))


def export_notes(
    out: str | Path, encoder: Wav2Vec2SpeechEncoder, alignment: AudioAlignment, whose: str, usual: Wav2Vec2Config
) -> list[str]:
    """What the published code of `whose`, which always builds the encoder `usual`, needs to know, one sentence each."""
    notes = []
    if _differs(encoder.config, usual):
        base = "wav2vec2-base" if usual.hidden_size == 768 else "wav2vec2-large"
        notes.append(
            f"Its speech encoder is not {base}: build Wav2Vec2Model from {_config_beside(Path(out)).name} instead."
        )
    if alignment == "time":
        notes.append(
            f"It was trained with features at the times of the motion frames; {whose}'s own code stretches or pairs "
            "the features, which shifts the sound by up to one frame."
        )
    return notes


def _config_beside(path: Path) -> Path:
    return path.with_name(path.name + ".config.json")


SIZES = ("conv_", "num_hidden_l", "num_att", "num_conv", "hidden_size", "intermediate", "feat_extract_norm", "do_st")


def _differs(config: Wav2Vec2Config, usual: Wav2Vec2Config) -> bool:
    """Whether the two configurations are those of different networks."""
    own, base = config.to_dict(), usual.to_dict()
    return any(_listed(own[key]) != _listed(base[key]) for key in base if key.startswith(SIZES))


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
