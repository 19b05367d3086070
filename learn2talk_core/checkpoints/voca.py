"""Checkpoints of VOCA: the published TensorFlow one (`gstep_52280.model.index` and `.data-00000-of-00001`)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.checkpoints.students import student_of_folder
from learn2talk_core.corpus import published_speakers
from learn2talk_core.corpus.format import Corpus
from learn2talk_core.models.students.voca.network import CHANNELS, DEEPSPEECH, VOCA
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_file
from learn2talk_core.untrusted.published import fill
from learn2talk_core.untrusted.tensor_bundle import bundle_stem, read_tensor_bundle

FIX = "Name the file gstep_52280.model.index of VOCA, with its .data file beside it."
# Tensors of a checkpoint that are no weights: the optimiser's moments and decay rates, and step counts.
TRAINING_ONLY = ("/Adam", "/Adam_1", "beta1_power", "beta2_power", "global_step")
PUBLISHED_FPS = 60.0


def tensor_names() -> dict[str, str]:
    """The names of our weights → VOCA's."""
    speech, last = "VOCA/SpeechEncoder", "VOCA/ExpressionLayer/expression_offset"
    names = {
        "batch_norm.weight": f"{speech}/batch_norm/gamma",
        "batch_norm.bias": f"{speech}/batch_norm/beta",
        "batch_norm.running_mean": f"{speech}/batch_norm/moving_mean",
        "batch_norm.running_var": f"{speech}/batch_norm/moving_variance",
        "expression_offset.weight": f"{last}/weights",
        "expression_offset.bias": f"{last}/biases",
    }
    layers = {f"convolutions.{i}": f"conv{i + 1}" for i in range(len(CHANNELS))} | {"fc1": "fc1", "fc2": "fc2"}
    for own, theirs in layers.items():
        names |= {f"{own}.weight": f"{speech}/{theirs}/weights", f"{own}.bias": f"{speech}/{theirs}/biases"}
    return names


def import_voca(path: str | Path) -> tuple[VOCA, tuple[str, ...]]:
    """The network of a TensorFlow checkpoint, read without TensorFlow. It needs DeepSpeech's logits, not sound.

    Args:
        path: a file of the checkpoint, or the files' common name.

    Returns:
        The network, in evaluation mode, and its speakers in the order of the style one-hot.

    Raises:
        BadInput: see `read_tensor_bundle`; another network; another number of styles than the eight published ones.
    """
    given = read_tensor_bundle(path, skipped=TRAINING_ONLY)
    names = tensor_names()
    absent = [name for name in names.values() if name not in given]
    extra = [name for name in given if name not in names.values()]
    if absent or extra:
        found = f"no {absent[0]}" if absent else f"{extra[0]}, which it does not have"
        raise BadInput(path, expected="the weights of VOCA", found=found, fix=FIX)
    state = {own: _torch_order(given[theirs]) for own, theirs in names.items()}
    vertices, remainder = divmod(given[names["expression_offset.bias"]].size, 3)
    styles = state["fc1.weight"].shape[-1] - CHANNELS[-1]
    speakers = published_speakers.VOCASET
    if remainder or styles != len(speakers):
        found = f"{styles} styles and {3 * vertices + remainder} coordinates"
        raise BadInput(path, expected=f"VOCA with {len(speakers)} styles", found=found, fix=FIX)
    model = VOCA(vertices, styles, feature_width=DEEPSPEECH)
    fill(model, state, path, what="VOCA with DeepSpeech's 29 logits", fix=FIX)
    return model.eval(), speakers


def export_arrays(model: VOCA) -> dict[str, np.ndarray]:
    """The weights under VOCA's names, in TensorFlow's order, without those of the speech encoder."""
    state = model.state_dict()
    return {theirs: _tensorflow_order(state[own]) for own, theirs in tensor_names().items()}


def export_voca(model: VOCA, out: str | Path) -> list[str]:
    """Write `export_arrays` as an npz file; returns what who reads it needs to know."""
    with whole_file(out) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **export_arrays(model))
    notes = ["Its arrays have the names and axes of the TensorFlow variables of VOCA: assign each by its name."]
    width = model.settings()["feature_width"]
    if width != DEEPSPEECH:
        notes.append(f"VOCA's own code hears DeepSpeech's 29 logits, this one {width} features per frame.")
    return notes


def import_student(
    source: str | Path, corpus: Corpus, *, config: str | Path | None = None
) -> tuple[VOCA, tuple[str, ...]]:
    """A VOCA for the speakers and mesh of `corpus`, from a model folder of this project.

    Published weights cannot be a student of a run: they need DeepSpeech's logits, and a corpus has sound.
    """
    source = Path(source)
    if not source.is_dir():
        import_voca(source)
        raise BadInput(
            source,
            expected="a VOCA that listens to sound",
            found="published weights, which need the logits of DeepSpeech 0.1.0",
            fix="Train a voca (checkpoint: weights/none); use the published one in Python: VOCA.predict_from_logits.",
        )
    return student_of_folder(VOCA, source, corpus)


def is_bundle(path: str | Path) -> bool:
    """Whether `path` names a TensorFlow checkpoint."""
    return Path(f"{bundle_stem(path)}.index").is_file()


def _torch_order(values: np.ndarray) -> Tensor:
    """TensorFlow's order of axes → torch's: convolutions (k, 1, in, out) → (out, in, k), linear maps transposed."""
    if values.ndim == 4:
        values = values[:, 0].transpose(2, 1, 0)
    elif values.ndim == 2:
        values = values.T
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def _tensorflow_order(value: Tensor) -> np.ndarray:
    values = value.detach().cpu().numpy()
    if values.ndim == 3:
        values = values.transpose(2, 1, 0)[:, None]
    elif values.ndim == 2:
        values = values.T
    return np.ascontiguousarray(values)
