import numpy as np
import pytest
import torch

from learn2talk_core.audio.mel import mel_spectrogram
from learn2talk_core.models.syncnet3d import (
    Shape,
    SyncNet3D,
    audio_windows,
    config,
    encoder_layer,
    load_syncnet3d,
    window_frames,
)
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import save_weights
from tests.golden.fill import waveform


def small(non_negative: bool = False, vertices: int = 5, window: int = 6) -> SyncNet3D:
    torch.manual_seed(0)
    shape = Shape(
        vertices, window, modes=4, width=8, layers=1, heads=2, channels=2, embedding=16, non_negative=non_negative
    )
    model = SyncNet3D(shape)
    model.modes.copy_(torch.randn(3 * vertices, 4))
    return model.eval()


def test_the_window_is_a_fifth_of_a_second():
    assert [window_frames(fps) for fps in (25, 30, 60)] == [5, 6, 12]


@pytest.mark.parametrize("fps", [25.0, 30.0, 29.97])
def test_audio_windows_against_interpolation_in_time(fps):
    wave = waveform(1.3)
    mel = mel_spectrogram(wave)
    times = np.arange(mel.shape[1]) / 80
    found = audio_windows(wave, fps)
    frame = 0
    while frame / fps + 15 / 80 <= times[-1] + 1e-9:
        at = frame / fps + np.arange(16) / 80
        expected = np.stack([np.interp(at, times, band) for band in mel])
        np.testing.assert_allclose(found[frame], expected, atol=1e-4)
        frame += 1
    assert len(found) == frame


def test_audio_windows_of_short_sounds():
    assert audio_windows(np.zeros(2999, np.float32), 30).shape == (0, 80, 16)
    assert audio_windows(np.zeros(3000, np.float32), 30).shape == (1, 80, 16)
    assert audio_windows(np.zeros(0, np.float32), 30).shape == (0, 80, 16)


def test_a_clip_of_motion_has_audio_for_all_its_windows():
    for frames in (6, 7, 90, 91):
        wave = np.zeros(round(frames / 30 * 16000), np.float32)
        assert len(audio_windows(wave, 30)) >= frames - window_frames(30) + 1


def test_all_windows_of_a_batch_of_clips_against_a_loop():
    model = small()
    displacement = torch.randn(3, 11, 5, 3)
    found = model.embed_mesh(displacement)
    assert found.shape == (3, 6, 16)
    for clip in range(3):
        for k in range(6):
            one = model.embed_mesh(displacement[clip : clip + 1, k : k + 6])
            torch.testing.assert_close(found[clip, k], one[0, 0])


def test_embeddings_have_length_one_and_those_of_the_loss_a_cosine_in_0_to_1():
    model = small(non_negative=True)
    mesh = model.embed_mesh(torch.randn(2, 20, 5, 3))
    audio = model.embed_audio(torch.randn(2, 15, 80, 16))
    for embedding in (mesh, audio):
        assert embedding.shape == (2, 15, 16)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2, 15))
        assert (embedding >= 0).all()
    assert (small().embed_audio(torch.randn(9, 80, 16)) < 0).any()


def test_a_layer_is_torchs_own():
    layer = small().transformer.layers[0].double().train()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    start, results = torch.randn(3, 6, 8, dtype=torch.float64), []
    for function in (layer, lambda x: encoder_layer(layer, x)):
        x = start.clone().requires_grad_()
        found = function(x)
        found.square().sum().backward()
        results.append((found.detach(), x.grad))
    torch.testing.assert_close(results[1], results[0])


def test_gradient_in_the_vertices_by_finite_differences():
    model = small(non_negative=True).double()
    displacement = torch.randn(1, 7, 5, 3, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 2, 16, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda d: (model.embed_mesh(d) * direction).sum(), (displacement,))


def test_save_and_load(tmp_path):
    model = small(non_negative=True)
    save_weights(tmp_path / "loss", model, config(model))
    loaded = load_syncnet3d(tmp_path / "loss")
    mel = torch.randn(4, 80, 16)
    torch.testing.assert_close(loaded.embed_audio(mel), model.embed_audio(mel))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    with pytest.raises(BadInput, match=r"model\.json.*dvc repro syncnet3d"):
        load_syncnet3d(tmp_path / "absent")
