"""Published lip readers of Ma et al.: `model.pth`, the `model.json` beside it, and the list of output units."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from learn2talk_core.corpus.phonemes import PHONEMES
from learn2talk_core.models.lipreader import CROP, LipReader, load_lipreader, official_shape
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import read_json, write_json
from learn2talk_core.run.own_folder import EXPORT, own_folder
from learn2talk_core.run.weights import check_description, described, load_config
from learn2talk_core.untrusted.published import check_state, export_state, fill, read_state

FIX = "Name the model.pth of a video-only LRS3 or LRS2 reader, with its model.json beside it."
# Required options: with other values it is another network. A model.json that leaves one out means the value here.
NETWORK = {
    "transformer_input_layer": "conv3d",
    "transformer_encoder_attn_layer_type": "rel_mha",
    "relu_type": "swish",
    "macaron_style": True,
    "use_cnn_module": True,
}
SIZES = ("adim", "aheads", "eunits", "elayers", "dlayers", "cnn_module_kernel", "dropout_rate")
READ = {*NETWORK, *SIZES, "rel_pos_type", "labels_type", "char_list"}


def import_lipreader(
    weights: str | Path, config: str | Path | None = None, units: str | Path | None = None
) -> tuple[LipReader, dict[str, Any], tuple[str, ...]]:
    """The lip reader of a published checkpoint.

    Args:
        weights: `model.pth`, a plain state dict.
        config: `model.json`: the options, or a list [input size, vocabulary, options]. If None, the one beside the
            weights.
        units: for readers of sub-words, the list that is published separately, `unigram5000_units.txt`; one beside the
            weights is found automatically. Readers of characters have their units in `model.json`.

    Returns:
        The reader, in evaluation mode; the arguments of `LipReader` that rebuild it; the unit of each output of its CTC
        head: blank first, `▁` or `<space>` for a space, start-and-end last.

    Raises:
        BadInput: see `published.read_state`; a network for audio, or another one; a number of units that differs from
            the number of outputs.
    """
    weights = Path(weights)
    config = weights.with_name("model.json") if config is None else Path(config)
    size, options = _options(config)
    state = read_state(weights)
    if "ctc.ctc_lo.bias" not in state:
        raise BadInput(weights, expected="the weights of a lip reader", found="no ctc.ctc_lo.bias", fix=FIX)
    vocabulary = state["ctc.ctc_lo.bias"].numel()
    if size is not None and size != vocabulary:
        raise BadInput(config, expected=f"a vocabulary of {vocabulary}, as {weights.name}", found=str(size), fix=FIX)
    names = _units(options, weights, None if units is None else Path(units))
    if len(names) != vocabulary:
        fix = "Name the list of units that belongs to these weights."
        raise BadInput(weights, expected=f"{vocabulary} units", found=f"{len(names)}", fix=fix)
    try:
        shape = {"vocabulary": vocabulary, **official_shape(options)}
    except KeyError as error:
        raise BadInput(config, expected=f"an option {error}", found="none", fix=FIX) from None
    # up to 250 million weights: compared before memory is allocated, and not initialised only to be overwritten
    what = "the lip reader that its model.json describes"
    reader = described(lambda: LipReader(**shape), config, expected="the options of a lip reader", fix=FIX)
    check_state(reader, state, weights, what=what, fix=FIX)
    reader = reader.to_empty(device="cpu")
    fill(reader, state, weights, what=what, fix=FIX)
    return reader.eval(), shape, names


def import_reader(source: str | Path) -> tuple[nn.ModuleDict, dict[str, Any]]:
    """A lip reader and its configuration for `weights.save_weights`, from published weights (see `import_lipreader`) or
    a model folder. A published one has `units` and no frame-wise head."""
    if Path(source).is_dir():
        reader, head = load_lipreader(source)
        own: dict[str, nn.Module] = {"reader": reader} if head is None else {"reader": reader, "head": head}
        return nn.ModuleDict(own), load_config(source, made_by="dvc repro lipreader")
    return lipreader_parts(*import_lipreader(source))


def lipreader_parts(
    reader: LipReader, shape: dict[str, Any], units: tuple[str, ...]
) -> tuple[nn.ModuleDict, dict[str, Any]]:
    """The result of `import_lipreader` as module and configuration for `weights.save_weights`."""
    return nn.ModuleDict({"reader": reader}), {"reader": shape, "classes": 0, "units": list(units)}


def export_lipreader(folder: str | Path, out: str | Path) -> None:
    """Write the reader in `folder` as a folder with `model.pth` and `model.json` for the published code.

    Its units are in `model.json`, as for readers of characters; readers that were trained here have phonemes.
    """
    reader, _ = load_lipreader(folder)
    config = load_config(folder, made_by="dvc repro lipreader")
    own = config["reader"]
    published = {"size": CROP, "normalise": "official", "width": 64}
    wrong = [key for key, value in published.items() if own.get(key, value) != value]
    if wrong:
        raise BadInput(
            folder,
            expected="a reader that the published code can run",
            found=f"{wrong[0]} {own[wrong[0]]}",
            fix=f"Train one with lipreader.network.{wrong[0]}={published[wrong[0]]}.",
        )
    options = {
        **NETWORK, "adim": own["dim"], "aheads": own["heads"], "eunits": own["hidden"], "dunits": own["hidden"],
        "elayers": own["encoder_layers"], "dlayers": own["decoder_layers"], "cnn_module_kernel": own["kernel"],
        "dropout_rate": own["dropout"], "transformer_attn_dropout_rate": own["dropout"], "zero_triu": False,
        "a_upsample_ratio": 1, "mtlalpha": 0.1, "lsm_weight": 0.1, "transformer_length_normalized_loss": 0,
        "ctc_type": "builtin", "report_cer": False, "report_wer": False, "labels_type": "char",
        "char_list": config.get("units") or ["<blank>", *PHONEMES, "<eos>"],
        "rel_pos_type": None if own.get("legacy_positions") else "latest",
    }  # fmt: skip
    with own_folder(out, EXPORT) as partial:
        torch.save(export_state(reader), partial / "model.pth")
        write_json(partial / "model.json", options)


def _options(path: Path) -> tuple[int | None, dict[str, Any]]:
    """The size of the vocabulary (None if `model.json` does not state it) and the options."""
    options = read_json(path, made_by="the options of the lip reader")
    size = None
    if isinstance(options, list) and len(options) == 3:
        _, size, options = options
    if not isinstance(options, dict):
        found = type(options).__name__
        raise BadInput(path, expected="options, or [input size, vocabulary, options]", found=found, fix=FIX)
    options = {key: value for key, value in options.items() if key in READ}
    check_description(options, path, fix=FIX)
    for key, value in NETWORK.items():
        found = options.get(key, value)
        if (bool(found) if isinstance(value, bool) else found) != value:
            raise BadInput(path, expected=f"{key}: {value}", found=str(found)[:80], fix=FIX)
    return size, options


def _units(options: dict[str, Any], weights: Path, given: Path | None) -> tuple[str, ...]:
    listed = options.get("char_list")
    if given is None and options.get("labels_type", "char") == "char" and isinstance(listed, list):
        return tuple(str(unit)[:100] for unit in listed if isinstance(unit, str))
    path = given or next(iter(sorted(weights.parent.glob("*units.txt"))), None)
    if path is None:
        raise BadInput(
            weights,
            expected=f"the list of its units ({options.get('labels_type', 'char')})",
            found="none in model.json and no *units.txt beside it",
            fix="Put unigram5000_units.txt of the published code beside the weights.",
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, expected="a list of units, one per line", found=str(error), fix=FIX) from error
    return ("<blank>", *(line.split()[0] for line in lines if line.strip()), "<eos>")
