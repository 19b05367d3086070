"""packaged weights or published checkpoints → data/models/NAME: a network that is not trained in a run, in float32.

The pipeline `pretraining/` makes those of `weights/`. Scores on held-out data that a checkpoint states go to
metrics/experts/NAME.json. Later stages depend on single networks, so that another lip reader, for example, does not
train the students again that do not use it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from learn2talk_core.checkpoints.lipreader import import_reader
from learn2talk_core.checkpoints.speech_encoder import import_speech_encoder
from learn2talk_core.checkpoints.watched import refuse_unwatched
from learn2talk_core.checkpoints.wav2lip import import_expert, import_generator
from learn2talk_core.models.phoneme_head import read_phoneme_head
from learn2talk_core.models.speech_encoders.loading import save_speech_encoder
from learn2talk_core.models.sync_expert2d import save_expert
from learn2talk_core.models.wav2lip import save_generator
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.paths import LIPREADER, METRICS, PHONEME_HEAD, SPEECH_ENCODER, SYNC_EXPERT, TEACHER, is_nothing
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import parameter_count, read_origin, save_weights


@dataclass(frozen=True)
class Params:
    """Group `experts` of params.yaml."""

    speech_encoder: str
    lipreader_metric: str
    lipreader_loss: str
    teacher: str
    sync_expert: str
    phoneme_head: str


@dataclass(frozen=True)
class Expert:
    """A network that this stage takes.

    Attributes:
        kind: of packaged weights (`weights.read_origin`).
        out: the folder to write.
        take: source and an empty folder → the network, which is then in the folder.
        beside: patterns of files that would be read beside a source that is a file.
        optional: a run can do without it.
    """

    kind: str
    out: str
    take: Callable[[str, Path], nn.Module]
    beside: tuple[str, ...] = ()
    optional: bool = False


def main(params: Params, name: str) -> str:
    expert, source, parameter = EXPERTS[name], getattr(params, name), f"experts.{name}"
    if is_nothing(source):
        if not expert.optional:
            fix = "Name its weights in params.yaml."
            raise BadInput(parameter, expected="a checkpoint", found="none", fix=fix)
        with whole_folder(expert.out) as folder:
            write_json(folder / "absent.json", {"parameter": parameter})
        write_json(f"{METRICS}/experts/{name}.json", {"checkpoint": source})
        return "none"
    refuse_unwatched(source, parameter, expert.beside)
    origin = read_origin(source, expert.kind) if Path(source).is_dir() else None
    with whole_folder(expert.out) as folder:
        network = expert.take(source, folder)
    about = {"checkpoint": source, "parameters": parameter_count(network)}
    write_json(f"{METRICS}/experts/{name}.json", {**about, **stated_scores(origin)})
    return f"{source}, {parameter_count(network) / 1e6:.1f} million parameters"


def stated_scores(origin: dict[str, Any] | None) -> dict[str, Any]:
    """The scores in the description of packaged weights, as their training wrote them."""
    found = (origin or {}).get("metrics")
    found = found.get("training", found) if isinstance(found, dict) else {}
    return {"held_out": found} if found else {}


def take_speech_encoder(source: str, folder: Path) -> nn.Module:
    encoder = import_speech_encoder(source)
    save_speech_encoder(folder, encoder)
    return encoder


def take_phoneme_head(source: str, folder: Path) -> nn.Module:
    head, config = read_phoneme_head(source, made_by="dvc repro phoneme_head in pretraining/")
    save_weights(folder, head, config)
    return head


def take_lipreader(source: str, folder: Path) -> nn.Module:
    model, config = import_reader(source)
    save_weights(folder, model, config)
    return model


def take_teacher(source: str, folder: Path) -> nn.Module:
    generator, shape, inputs = import_generator(source)
    save_generator(folder, generator, inputs=inputs, **shape)
    return generator


def take_sync_expert(source: str, folder: Path) -> nn.Module:
    expert, width = import_expert(source)
    save_expert(folder, expert, width=width)
    return expert


EXPERTS = {
    "speech_encoder": Expert("speech_encoder", SPEECH_ENCODER, take_speech_encoder, ("config.json",)),
    "lipreader_metric": Expert("lipreader", f"{LIPREADER}/metric", take_lipreader, ("model.json", "*units.txt")),
    "lipreader_loss": Expert("lipreader", f"{LIPREADER}/loss", take_lipreader, ("model.json", "*units.txt")),
    "teacher": Expert("teacher", TEACHER, take_teacher),
    "sync_expert": Expert("teacher", SYNC_EXPERT, take_sync_expert, optional=True),
    "phoneme_head": Expert("phoneme_head", PHONEME_HEAD, take_phoneme_head, optional=True),
}

if __name__ == "__main__":
    run(main, Params, roles=tuple(EXPERTS))
