"""Wav2Lip's files, made from the golden weights, compared with the reference's recorded outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.wav2lip import export_sync_expert, export_wav2lip, import_sync_expert, import_wav2lip
from learn2talk_core.models.sync_expert2d import SyncExpert2D, face_embeddings, load_expert, lower_halves, save_expert
from learn2talk_core.models.wav2lip import Inputs, Wav2Lip, to_tensor
from learn2talk_core.run.errors import BadInput
from tests.checkpoints.files import golden_state, save
from tests.golden.fill import Golden, uniform

GENERATOR, EXPERT = Golden("wav2lip", "wav2lip"), Golden("wav2lip", "sync_expert2d")
MEL = Golden("wav2lip", "mel")["reflect"].dense()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wav2lip")
    beside = {"optimizer": {"state": {}, "param_groups": []}, "global_step": 5, "global_epoch": 1}
    return {
        "generator": save(folder / "wav2lip_gan.pth", golden_state(GENERATOR), **beside),
        "expert": save(folder / "lipsync_expert.pth", golden_state(EXPERT), **beside),
    }


@torch.inference_mode()
def speaks_as_the_reference(generator: Wav2Lip) -> None:
    reference = uniform("faces", (5, 96, 96, 3))
    masked = reference.copy()
    masked[:, 48:] = 0
    faces = torch.from_numpy(np.concatenate([masked, reference], axis=3)).permute(0, 3, 1, 2)
    GENERATOR.assert_close("out4d", generator(torch.from_numpy(GENERATOR["mels"].dense()), faces))


def test_generator_and_its_way_back(files: dict[str, Path], tmp_path: Path) -> None:
    generator = import_wav2lip(files["generator"])
    speaks_as_the_reference(generator)
    export_wav2lip(generator, tmp_path / "again.pth", Inputs(bgr=True))
    written = torch.load(tmp_path / "again.pth", weights_only=True)
    assert list(written) == ["state_dict", "optimizer", "global_step", "global_epoch"]
    assert list(written["state_dict"]) == [f"module.{key}" for key in GENERATOR.info["keys"]]
    speaks_as_the_reference(import_wav2lip(tmp_path / "again.pth"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_generator_from_torchscript(files: dict[str, Path], tmp_path: Path) -> None:
    generator = import_wav2lip(files["generator"])
    torch.jit.trace(generator, (torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96))).save(str(tmp_path / "SD-GAN.pt"))
    read = import_wav2lip(tmp_path / "SD-GAN.pt")
    assert read.state_dict().keys() == generator.state_dict().keys()
    assert all(torch.equal(value, generator.state_dict()[key]) for key, value in read.state_dict().items())
    speaks_as_the_reference(read)


@torch.inference_mode()
def hears_as_the_reference(expert: SyncExpert2D) -> None:
    faces = torch.from_numpy(uniform("faces", (5, 96, 96, 3))).permute(3, 0, 1, 2)[None]
    windows = torch.cat([lower_halves(faces), torch.from_numpy(uniform("faces2", (1, 15, 48, 96)))])
    audio, face = expert(torch.from_numpy(np.stack([MEL[:, 0:16], MEL[:, 40:56]]))[:, None], windows)
    EXPERT.assert_close("audio_emb", audio)
    EXPERT.assert_close("face_emb", face)


def test_expert_its_folder_and_its_way_back(files: dict[str, Path], tmp_path: Path) -> None:
    expert = import_sync_expert(files["expert"])
    hears_as_the_reference(expert)
    save_expert(tmp_path / "expert", expert, width=1)
    loaded = load_expert(tmp_path / "expert")
    hears_as_the_reference(loaded)
    export_sync_expert(loaded, tmp_path / "again.pth")
    again = import_sync_expert(tmp_path / "again.pth")
    hears_as_the_reference(again)
    # it takes plain BGR faces, to which `face_embeddings` converts a clip in RGB
    clip = (uniform("clip", (6, 96, 96, 3)) * 255).astype(np.uint8)
    bgr = to_tensor(clip, bgr=True).transpose(0, 1)
    with torch.inference_mode():
        expected = again.encode_face(lower_halves(bgr[None, :, 1:6]))
    np.testing.assert_allclose(face_embeddings(again, clip)[1], expected[0], atol=1e-6)


def test_the_other_network_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match=r"expected the weights of Wav2Lip's generator, found no face_encoder_blocks\.0"):
        import_wav2lip(files["expert"])
    with pytest.raises(BadInput, match=r"expected the weights of Wav2Lip's lip-sync expert, found no .* Name lips"):
        import_sync_expert(files["generator"])


def test_an_exported_rgb_generator_is_the_same_function_of_bgr(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rgb = Wav2Lip().eval()
    torch.nn.init.normal_(rgb.output_block[1].bias)
    export_wav2lip(rgb, tmp_path / "w.pth", Inputs())
    bgr = import_wav2lip(tmp_path / "w.pth")
    mel, faces = torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)
    with torch.inference_mode():
        expected = rgb(mel, faces).flip(1)
        found = bgr(mel, faces.unflatten(1, (2, 3)).flip(2).flatten(1, 2))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.01


def test_what_wav2lips_code_cannot_run_is_not_exported(tmp_path: Path) -> None:
    for generator, inputs, found in (
        (Wav2Lip(0.05), Inputs(), "face_encoder_blocks.0.0"),
        (Wav2Lip(0.05, residual=True), Inputs(), "a residual"),
        (Wav2Lip(0.05), Inputs(lead=2), "one that begins 2 frames before"),
        (Wav2Lip(0.05, states=8), Inputs(states=8), "one that hears the 8 hidden states of a speech encoder"),
        (Wav2Lip(0.05), Inputs(gain=1.2), "a gain of 1.2"),
    ):
        with pytest.raises(BadInput, match=rf"found {found}.* teacher.generator: {{width: 1, audio_width: 1, resid"):
            export_wav2lip(generator, tmp_path / "w.pth", inputs)
    with pytest.raises(BadInput, match="Only an imported expert can be exported"):
        export_sync_expert(SyncExpert2D(0.05), tmp_path / "w.pth")
    assert not list(tmp_path.iterdir())
