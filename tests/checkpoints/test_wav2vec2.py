"""wav2vec 2.0 in all forms in which it is distributed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2ForCTC, Wav2Vec2ForPreTraining

from learn2talk_core.checkpoints.wav2vec2 import encoder_config, export_wav2vec2, import_wav2vec2
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder, align_as_faceformer
from learn2talk_core.run.errors import BadInput
from learn2talk_core.untrusted.published import export_state
from tests.checkpoints.files import golden_state
from tests.golden.fill import Golden, waveform, zmuv

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
XLSR = {**LARGE, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}


def tiny(**numbers: object) -> Wav2Vec2SpeechEncoder:
    torch.manual_seed(0)
    return Wav2Vec2SpeechEncoder.from_numbers(**TINY | numbers).eval()


@torch.inference_mode()
def same(found: Wav2Vec2SpeechEncoder, expected: Wav2Vec2SpeechEncoder) -> bool:
    wave = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    return torch.equal(found.encode(found.conv_features(wave)), expected.encode(expected.conv_features(wave)))


@torch.inference_mode()
def test_golden_weights_from_a_file_without_configuration(tmp_path: Path) -> None:
    """The encoder inside FaceFormer's golden weights, old names, as `pytorch_model.bin` of a CTC model holds it."""
    golden = Golden("faceformer", "vocaset")
    state = {k.removeprefix("audio_"): v for k, v in golden_state(golden).items() if k.startswith("audio_encoder.")}
    state = {f"wav2vec2.{key.removeprefix('encoder.')}": value for key, value in state.items()}
    state |= {"lm_head.weight": torch.zeros(32, 768), "lm_head.bias": torch.zeros(32)}
    torch.save(state, tmp_path / "pytorch_model.bin")
    encoder = import_wav2vec2(tmp_path / "pytorch_model.bin")
    features = encoder.conv_features(torch.from_numpy(zmuv(waveform(2.0), 1e-5))[None])
    golden.assert_close("conv_features", features.transpose(1, 2), atol=2e-5)
    golden.assert_close("hidden_predict", encoder.encode(align_as_faceformer(features, "vocaset")), atol=1e-4)


@pytest.mark.parametrize("numbers", [BASE, LARGE, XLSR], ids=["base", "large", "xlsr"])
def test_published_sizes_are_read_off_the_shapes(numbers: dict) -> None:
    with torch.device("meta"):
        encoder = Wav2Vec2SpeechEncoder.from_numbers(**numbers)
    for state in (encoder.state_dict(), export_names(encoder)):
        found, expected = encoder_config(state, "w").to_dict(), encoder.config.to_dict()
        assert found == expected


def export_names(encoder: Wav2Vec2SpeechEncoder) -> dict[str, torch.Tensor]:
    names = list(export_state(tiny()))
    old = [name for name in names if name.endswith(("weight_g", "weight_v"))]
    assert len(old) == 2
    state = dict(encoder.state_dict())
    for new, name in zip(("original0", "original1"), sorted(old), strict=True):
        state[name] = state.pop(f"encoder.pos_conv_embed.conv.parametrizations.weight.{new}")
    return state


@pytest.mark.parametrize("kind", ["bare", "ctc", "pretraining"])
@pytest.mark.parametrize("old", [True, False])
def test_a_file_of_weights_with_and_without_heads(tmp_path: Path, kind: str, old: bool) -> None:
    encoder = tiny()
    state = export_state(encoder) if old else dict(encoder.state_dict())
    if kind != "bare":
        whole = (Wav2Vec2ForCTC if kind == "ctc" else Wav2Vec2ForPreTraining)(encoder.config).state_dict()
        heads = {key: value for key, value in whole.items() if not key.startswith("wav2vec2.")}
        assert heads
        state = {**{f"wav2vec2.{key}": value for key, value in state.items()}, **heads}
    save_file(state, tmp_path / "w.safetensors")
    assert same(import_wav2vec2(tmp_path / "w.safetensors"), encoder)


def test_the_configuration_beside_a_file_or_given(tmp_path: Path) -> None:
    encoder = tiny(do_stable_layer_norm=True, num_attention_heads=4)  # settings that the shapes do not determine
    export_wav2vec2(encoder, tmp_path / "folder")
    assert same(import_wav2vec2(tmp_path / "folder" / "pytorch_model.bin"), encoder)
    (tmp_path / "folder" / "config.json").rename(tmp_path / "config.json")
    assert same(import_wav2vec2(tmp_path / "folder" / "pytorch_model.bin", tmp_path / "config.json"), encoder)


def test_a_folder_a_cached_name_and_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny(do_stable_layer_norm=True)
    export_wav2vec2(encoder, tmp_path / "w")
    written = torch.load(tmp_path / "w" / "pytorch_model.bin", weights_only=True)
    assert "encoder.pos_conv_embed.conv.weight_g" in written
    assert same(import_wav2vec2(tmp_path / "w"), encoder)
    cache = tmp_path / "hub" / "models--someone--w"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    (tmp_path / "w").rename(cache / "w")
    (cache / "snapshots").mkdir()
    (cache / "w").rename(cache / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    assert same(import_wav2vec2("someone/w"), encoder)
    (cache / "snapshots" / ("0" * 40) / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(BadInput, match=r"someone/w: expected a wav2vec 2.0, found a hubert"):
        import_wav2vec2("someone/w")


def test_other_models_are_refused(tmp_path: Path) -> None:
    export_wav2vec2(tiny(), tmp_path / "w")
    about, heard = tmp_path / "w" / "config.json", tmp_path / "w" / "preprocessor_config.json"
    for path, change, pattern in (
        (heard, {"sampling_rate": 8000}, "expected a model for 16 kHz, found 8000 Hz"),
        (heard, {"do_normalize": False}, "found do_normalize: false"),
        (about, {"model_type": "wavlm"}, "expected a wav2vec 2.0, found a wavlm"),
    ):
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), **change}))
        for source in (tmp_path / "w", tmp_path / "w" / "pytorch_model.bin"):
            with pytest.raises(BadInput, match=pattern):
                import_wav2vec2(source)
        path.write_text(before)
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, tmp_path / "x.pth")
    with pytest.raises(BadInput, match=r"found no feature_extractor\.conv_layers\.0\.conv\.weight\. Name a wav"):
        import_wav2vec2(tmp_path / "x.pth")
    state = export_state(tiny())
    del state["encoder.layers.1.final_layer_norm.bias"]
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(BadInput, match=r"found no encoder.layers.1.final_layer_norm.bias"):
        import_wav2vec2(tmp_path / "x.pth")
    with pytest.raises(BadInput, match=r"nobody/has-this: expected a wav2vec 2.0 on this machine"):
        import_wav2vec2("nobody/has-this")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"hidden_size": 30, "num_attention_heads": 7}, "expected the configuration of a wav2vec 2.0, found "),
        ({"num_attention_heads": 5}, "expected the configuration of a wav2vec 2.0, found "),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected a "),
        ({"num_hidden_layers": 90}, "found n"),
        ({"num_hidden_layers": "two"}, "expected a whole number 1 … 100, found two"),
        ({"hidden_size": -1}, "expected a whole number 1 … 16384, found -1"),
        ({"hidden_size": 64}, "shape"),
        ({"intermediate_size": 2**40}, "intermediate_size: expected a"),
        ({"conv_dim": [2**19] * 7}, "conv_dim: expected a whole number 1 … 4096, found 524288"),
        ({"conv_dim": [16] * 150, "conv_kernel": [2] * 150, "conv_stride": [1] * 150}, "config.json: expected "),
        ({"conv_kernel": [2]}, "expected the configuration of a wav2vec 2.0, found "),
        ({"hidden_act": "nothing"}, "expected the configuration of a wav2vec 2.0, found "),
        ({"hidden_dropout": 7.0}, "expected the configuration of a wav2vec 2.0, found "),
        ({"add_adapter": True, "num_adapter_layers": 10**6}, "num_adapter_layers: expected a"),
    ],
)
def test_configurations_of_no_such_network(tmp_path: Path, change: dict, found: str) -> None:
    """Each is refused before a network of that size is built, in every form."""
    export_wav2vec2(tiny(), tmp_path / "w")
    about = tmp_path / "w" / "config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    for source, config in ((tmp_path / "w", None), (tmp_path / "w" / "pytorch_model.bin", about)):
        with pytest.raises(BadInput) as refused:
            import_wav2vec2(source, config)
        assert found in str(refused.value)


@pytest.mark.parametrize("content", [100_000 * "[", "[1]", '{"a":' * 5000 + "1" + 5000 * "}", "nothing", "\xff"])
def test_configurations_that_are_none(tmp_path: Path, content: str) -> None:
    export_wav2vec2(tiny(), tmp_path / "w")
    (tmp_path / "w" / "config.json").write_text(content, encoding="latin-1")
    for source in (tmp_path / "w", tmp_path / "w" / "pytorch_model.bin"):
        with pytest.raises(BadInput, match=r"config\.json: expected"):
            import_wav2vec2(source)


def test_shapes_that_are_no_sizes(tmp_path: Path) -> None:
    state = export_state(tiny())
    for key, value in (
        ("feature_projection.projection.bias", torch.tensor(1.0)),
        ("encoder.pos_conv_embed.conv.weight_v", torch.zeros(32, 0, 16)),
        ("feature_extractor.conv_layers.0.conv.weight", torch.tensor(1.0)),
        ("encoder.layers.1000000000.final_layer_norm.bias", torch.zeros(32)),
        ("encoder.layers.x", torch.zeros(32)),
    ):
        save_file({**state, key: value}, tmp_path / "w.safetensors")
        with pytest.raises(BadInput, match="expected "):
            import_wav2vec2(tmp_path / "w.safetensors")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (str(self.path), "w")


def test_a_folder_with_code_in_its_weights(tmp_path: Path) -> None:
    export_wav2vec2(tiny(), tmp_path / "w")
    torch.save({**export_state(tiny()), "x": Evil(tmp_path / "touched")}, tmp_path / "w" / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"found an object of .*open, which could run code"):
        import_wav2vec2(tmp_path / "w")
    assert not (tmp_path / "touched").exists()
