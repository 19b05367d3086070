"""Lip readers of Ma et al., made from the golden weights, compared with the reference's recorded outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.lipreader import export_lipreader, import_lipreader, import_reader
from learn2talk_core.models.lipreader import LipReader, load_lipreader, load_units, official_shape, read_lips, with_head
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights
from tests.checkpoints.files import golden_state
from tests.golden.fill import Golden, uniform

OPTIONS = {
    "adim": 16, "aheads": 2, "eunits": 32, "dunits": 32, "elayers": 1, "dlayers": 1, "cnn_module_kernel": 5,
    "dropout_rate": 0.1, "transformer_input_layer": "conv3d", "relu_type": "swish", "rel_pos_type": "latest",
    "macaron_style": 1, "use_cnn_module": 1, "transformer_encoder_attn_layer_type": "rel_mha", "labels_type": "char",
    "char_list": ["<blank>", "'", "A", "B", "C", "<space>", "<unk>", "<eos>"],
}  # fmt: skip


def mouths() -> np.ndarray:
    """The recorded video: 25 frames of 96 × 96 pixels, made of blocks."""
    blocks = np.floor(uniform("vsr-blocks", (25, 12, 12)) * 200 + uniform("vsr-base", (1, 12, 12)) * 55)
    return np.kron(blocks, np.ones((8, 8), np.float32)) / 255


def reads_as_the_reference(golden: Golden, reader: LipReader, noise: Golden) -> None:
    """`noise` states the noise floor."""
    reading = read_lips(reader, None, mouths().astype(np.float32))
    golden.assert_close("encoder", reading.features, atol=noise.tolerance("encoder"))
    golden.assert_close("ctc_logp", reading.log_probs, atol=noise.tolerance("ctc_logp"))
    assert reading.frame_logits is None


def test_golden_weights_by_both_forms_of_configuration(tmp_path: Path) -> None:
    golden, legacy = Golden("vsr", "small_adim256"), Golden("vsr", "small_adim256_legacy")
    args, size = golden.info["args"], golden.info["odim"]
    with torch.device("meta"):
        keys = {k: list(v.shape) for k, v in LipReader(size, **official_shape(args)).state_dict().items()}
    torch.save(golden_state(golden, keys), tmp_path / "model.pth")
    units = ["<blank>", *(f"u{i}" for i in range(size - 2)), "<eos>"]
    (tmp_path / "model.json").write_text(json.dumps({**args, "char_list": units}))
    reader, shape, found = import_lipreader(tmp_path / "model.pth")
    assert found == tuple(units)
    reads_as_the_reference(golden, reader, golden)
    # the older format, sub-words in a separate list, and a missing option: other positional encodings
    old = {key: value for key, value in args.items() if key != "rel_pos_type"}
    (tmp_path / "model.json").write_text(json.dumps([88 * 88, size, {**old, "labels_type": "unigram5000"}]))
    (tmp_path / "unigram5000_units.txt").write_text("".join(f"▁w{i} {i + 1}\n" for i in range(size - 2)))
    reader, shape, found = import_lipreader(tmp_path / "model.pth")
    assert found[:2] == ("<blank>", "▁w0")
    assert shape["legacy_positions"]
    reads_as_the_reference(legacy, reader, golden)


def small(folder: Path, change: dict | None = None, *, tensors: dict | None = None) -> Path:
    """A tiny published reader: `model.pth` and `model.json`."""
    options = {**OPTIONS, **(change or {})}
    torch.manual_seed(0)
    reader = LipReader(8, **official_shape(OPTIONS))
    folder.mkdir(exist_ok=True)
    torch.save({**reader.state_dict(), **(tensors or {})}, folder / "model.pth")
    (folder / "model.json").write_text(json.dumps(options))
    return folder / "model.pth"


def test_our_folder_and_the_way_back(tmp_path: Path) -> None:
    model, config = import_reader(small(tmp_path / "published"))
    save_weights(tmp_path / "ours", model, config)
    reader, head = load_lipreader(tmp_path / "ours")
    assert head is None
    assert load_units(tmp_path / "ours") == tuple(OPTIONS["char_list"])
    export_lipreader(tmp_path / "ours", tmp_path / "back")
    again, shape, units = import_lipreader(tmp_path / "back" / "model.pth")
    assert (shape, units) == (config["reader"], tuple(OPTIONS["char_list"]))
    frames = (mouths() * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_lips(again, None, frames).features, read_lips(reader, None, frames).features)
    before = torch.load(tmp_path / "published" / "model.pth", weights_only=True)
    after = torch.load(tmp_path / "back" / "model.pth", weights_only=True)
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_one_that_was_trained_here(tmp_path: Path) -> None:
    shape = {"vocabulary": 41, "width": 64, "dim": 16, "heads": 2, "hidden": 32, "encoder_layers": 1, "kernel": 5,
             "decoder_layers": 1, "dropout": 0.1, "normalise": "official", "size": 88}  # fmt: skip
    torch.manual_seed(0)
    save_weights(tmp_path / "own", with_head(LipReader(**shape), 40), {"reader": shape, "classes": 40})
    assert load_units(tmp_path / "own") is None
    model, config = import_reader(tmp_path / "own")
    assert list(model) == ["reader", "head"]
    assert config["classes"] == 40
    export_lipreader(tmp_path / "own", tmp_path / "out")
    reader, _, units = import_lipreader(tmp_path / "out" / "model.pth")
    assert (units[0], units[1], units[-1]) == ("<blank>", "AA", "<eos>")
    assert all(torch.equal(value, model["reader"].state_dict()[key]) for key, value in reader.state_dict().items())
    small_one = {**shape, "size": 44}
    save_weights(tmp_path / "own", with_head(LipReader(**small_one), 40), {"reader": small_one, "classes": 40})
    with pytest.raises(BadInput, match=r"found size 44\. Train one with lipreader\.network\.size=88"):
        export_lipreader(tmp_path / "own", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"transformer_input_layer": "conv1d"}, "expected transformer_input_layer: conv3d, found conv1d"),
        ({"macaron_style": 0}, "expected macaron_style: True, found 0"),
        ({"adim": 32}, "expected the weights of the lip reader that its model.json describes, found .* of shape"),
        ({"elayers": 2}, "found no encoder.encoders.1"),
        ({"char_list": ["<blank>", "A", "<eos>"]}, "expected 8 units, found 3"),
        ({"labels_type": "unigram5000"}, r"expected the list of its units \(unigram5000\), found none in model.json"),
    ],
)
def test_another_network_or_list_of_units(tmp_path: Path, change: dict, pattern: str) -> None:
    with pytest.raises(BadInput, match=pattern):
        import_lipreader(small(tmp_path, change))


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    path = small(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps([7744, 9, OPTIONS]))
    with pytest.raises(BadInput, match=r"expected a vocabulary of 8, as model\.pth, found 9"):
        import_lipreader(path)
    (tmp_path / "model.json").write_text("[1]")
    with pytest.raises(BadInput, match=r"expected options, or .*, found list"):
        import_lipreader(path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(BadInput, match=r"model\.json: expected a file, found nothing"):
        import_lipreader(path)
    small(tmp_path, {"adim": None})
    options = json.loads((tmp_path / "model.json").read_text())
    del options["adim"]
    (tmp_path / "model.json").write_text(json.dumps(options))
    with pytest.raises(BadInput, match="expected an option 'adim', found none"):
        import_lipreader(path)
    torch.save({"w": torch.zeros(1)}, path)
    with pytest.raises(BadInput, match=r"found no ctc\.ctc_lo\.bias\. Name the model\.pth of a video-only"):
        import_lipreader(path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"elayers": 10**9}, "elayers: expected a number of at most 200, found more than 200"),
        ({"adim": 10**12}, "adim: expected a number of at most 1048576"),
        ({"adim": 2**19}, "instead of"),
        ({"adim": "wide"}, "expected the options of a lip reader, found an invalid one"),
        ({"aheads": 3}, "instead of"),
        ({"dropout_rate": 7.0}, "expected the options of a lip reader, found an invalid one"),
        ({"dlayers": 100}, "found no decoder.decoders.1."),
    ],
)
def test_options_of_no_such_network(tmp_path: Path, change: dict, found: str) -> None:
    with pytest.raises(BadInput) as refused:
        import_lipreader(small(tmp_path, change))
    assert found in str(refused.value)


@pytest.mark.parametrize("content", [100_000 * "[", "[[1, 2, 3], 4, 5]", "nothing"])
def test_options_that_are_none(tmp_path: Path, content: str) -> None:
    path = small(tmp_path)
    path.with_name("model.json").write_text(content)
    with pytest.raises(BadInput, match=r"model\.json: expected"):
        import_lipreader(path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"encoder_layers": 10**9}, "encoder_layers: expected a number of at most 200, found more than 200"),
        ({"encoder_layers": 150}, "found no reader.encoder.encoders.1."),
        ({"dim": 2**19}, "found another shape of reader."),
        ({"heads": 0}, "expected a description of a network, found an invalid one"),
        ({"depth": 3}, "expected a description of a network, found an invalid one"),
    ],
)
def test_our_folder_whose_numbers_are_not_those_of_its_weights(tmp_path: Path, change: dict, found: str) -> None:
    model, config = import_reader(small(tmp_path / "published"))
    save_weights(tmp_path / "ours", model, {**config, "reader": {**config["reader"], **change}})
    with pytest.raises(BadInput) as refused:
        load_lipreader(tmp_path / "ours")
    assert found in str(refused.value)
