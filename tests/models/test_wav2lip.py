"""Wav2Lip's networks compared with outputs of the reference code, with weights derived from their names."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from learn2talk_core.models.quality_discriminator import QualityDiscriminator
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.models.sync_expert2d import SyncExpert2D, face_embeddings, lower_halves
from learn2talk_core.models.wav2lip import (
    Inputs,
    Wav2Lip,
    heard_at,
    hidden_states,
    load_generator,
    masked,
    one_shot,
    save_generator,
    sound_for,
)
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.weights import folded
from tests.golden.fill import Golden, fill_state_dict, uniform

MEL = Golden("wav2lip", "mel")["reflect"].dense()


def filled(network: torch.nn.Module, golden: Golden) -> torch.nn.Module:
    fill_state_dict(network, golden.info["fill"])
    return network.eval()


@pytest.mark.parametrize(
    ("network", "name"),
    [(Wav2Lip, "wav2lip"), (SyncExpert2D, "sync_expert2d"), (QualityDiscriminator, "quality_discriminator")],
)
def test_keys_and_shapes_are_the_official_ones(network, name):
    expected = Golden("wav2lip", name).info["keys"]
    with torch.device("meta"):
        state = network().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == expected
    assert list(state) == list(expected)


def test_generator_is_the_references():
    golden = Golden("wav2lip", "wav2lip")
    generator = filled(Wav2Lip(), golden)
    mels = torch.from_numpy(golden["mels"].dense())
    reference = uniform("faces", (5, 96, 96, 3))
    masked = reference.copy()
    masked[:, 48:] = 0
    faces = torch.from_numpy(np.concatenate([masked, reference], axis=3)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        golden.assert_close("audio_embedding", generator.audio_encoder(mels), atol=1e-3, rtol=1e-5)
        golden.assert_close("out4d", generator(mels, faces))
        golden.assert_close("out5d", generator(mels[None], faces.transpose(0, 1)[None]), atol=golden.tolerance("out4d"))


def test_sync_expert_is_the_references():
    golden = Golden("wav2lip", "sync_expert2d")
    expert = filled(SyncExpert2D(), golden)
    faces = torch.from_numpy(uniform("faces", (5, 96, 96, 3))).permute(3, 0, 1, 2)[None]
    windows = torch.cat([lower_halves(faces), torch.from_numpy(uniform("faces2", (1, 15, 48, 96)))])
    mels = torch.from_numpy(np.stack([MEL[:, 0:16], MEL[:, 40:56]]))[:, None]
    with torch.inference_mode():
        audio, face = expert(mels, windows)
        cosine = functional.cosine_similarity(audio, face)
        loss = functional.binary_cross_entropy(cosine, torch.ones(2))
    golden.assert_close("audio_emb", audio)
    golden.assert_close("face_emb", face)
    golden.assert_close("cosine", cosine, atol=golden.tolerance("face_emb"))
    golden.assert_close("bce_loss_y1", loss[None], atol=1e-5)


def test_quality_discriminator_is_the_references():
    golden = Golden("wav2lip", "quality_discriminator")
    discriminator = filled(QualityDiscriminator(), golden)
    faces = torch.from_numpy(uniform("discfaces", (2, 3, 5, 96, 96)))
    with torch.inference_mode():
        golden.assert_close("features", discriminator.features(faces))
        golden.assert_close("prob", discriminator(faces))


def test_batches_of_clips_keep_their_frames_together():
    torch.manual_seed(0)
    generator = Wav2Lip(width=0.05).eval()
    mels, faces = torch.randn(2, 3, 1, 80, 16), torch.rand(2, 6, 3, 96, 96)
    with torch.inference_mode():
        clips = generator(mels, faces)
        single = generator(mels[1, 2][None], faces[1, :, 2][None])
    assert clips.shape == (2, 3, 3, 96, 96)
    torch.testing.assert_close(clips[1, :, 2], single[0])


@pytest.mark.parametrize("network", [Wav2Lip, SyncExpert2D, QualityDiscriminator])
def test_width_scales_the_channels(network):
    small, full = (sum(p.numel() for p in network(width).parameters()) for width in (0.25, 1.0))
    assert 1 / 20 < small / full < 1 / 12


@pytest.mark.parametrize(("bgr", "residual", "lead"), [(False, False, 0), (True, False, 2), (False, True, 0)])
def test_one_shot_is_the_generator_on_a_still(bgr, residual, lead):
    torch.manual_seed(0)
    generator = Wav2Lip(width=0.05, residual=residual).eval()
    torch.nn.init.normal_(generator.output_block[1].weight)
    still = (uniform("still", (96, 96, 3)) * 255).astype(np.uint8)
    mel = torch.randn(80, 30)
    mels = torch.stack([mel[:, first : first + 16] for first in (0, 3, 6, 9, 12)])  # int(3.2 t)
    video = one_shot(generator, still, mel.numpy(), 5, Inputs(bgr, lead), batch=2)
    reference = torch.from_numpy(still.copy()).permute(2, 0, 1) / 255
    reference = reference.flip(0) if bgr else reference
    lower_masked = reference.clone()
    lower_masked[:, 48:] = 0
    faces = torch.cat([lower_masked, reference]).expand(5, -1, -1, -1)
    with torch.inference_mode():
        expected = generator(mels[[0, 0, 0, 1, 2] if lead else slice(None), None], faces)
    expected = expected.flip(1) if bgr else expected
    np.testing.assert_allclose(video, 255 * expected.permute(0, 2, 3, 1).numpy(), atol=0.51)


def test_folding_the_normalisations_changes_no_result():
    torch.manual_seed(0)
    generator = Wav2Lip(width=0.05, states=6).eval()
    for norm in generator.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for numbers in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                torch.nn.init.uniform_(numbers, 0.5, 1.5)
    heard, faces = torch.randn(3, 1, 17, 6), torch.rand(3, 6, 96, 96)
    with torch.inference_mode():
        expected = generator(heard, faces)
        assert expected.std() > 0.01
        torch.testing.assert_close(folded(generator)(heard, faces), expected)


def test_gain_moves_the_embedding_away_from_its_mean_over_the_clip():
    torch.manual_seed(0)
    generator = Wav2Lip(width=0.05, states=6).eval()
    still = (uniform("still", (96, 96, 3)) * 255).astype(np.uint8)
    states = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float16)
    inputs = Inputs(states=6, gain=3.0)
    heard = torch.from_numpy(heard_at(states, np.arange(4), inputs))
    with torch.inference_mode():
        embedded = generator.audio_encoder(heard)
        assert embedded.shape == (4, 26, 1, 1)
        reference = torch.from_numpy(still.copy()).permute(2, 0, 1)[None] / 255
        skips = generator.encode_faces(torch.cat([masked(reference), reference], dim=1))
        skips = [skip.expand(4, -1, -1, -1) for skip in skips]
        moved = (3 * embedded - 2 * embedded.mean(dim=0)).clamp(min=0)
        expected = generator.decode(moved, skips, reference)
    video = one_shot(generator, still, states, 4, inputs)
    np.testing.assert_allclose(video, 255 * expected.permute(0, 2, 3, 1).numpy(), atol=0.51)
    plain = one_shot(generator, still, states, 4, inputs._replace(gain=1.0))
    assert np.abs(plain.astype(int) - video).max() > 0


def test_hidden_states_are_two_for_each_frame_at_its_time():
    """A wav2vec 2.0's states are 12.5 ms late and 20 ms apart: they are interpolated at multiples of 20 ms."""
    encoder = Wav2Vec2SpeechEncoder.from_numbers(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, layerdrop=0.0,
    ).eval()  # fmt: skip
    wave = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    found = hidden_states(encoder, wave, 25)
    assert found.shape == (50, 16)
    with torch.no_grad():
        own = encoder.encode(encoder.frozen_features(wave)[None])[0].numpy()
    at = np.clip((320 * np.arange(50) - 200) / 320, 0, len(own) - 1)
    expected = np.stack([np.interp(at, np.arange(len(own)), column) for column in own.T], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_array_equal(sound_for(Inputs(states=16), wave, 25, encoder), found)
    with pytest.raises(BadInput, match="of width 384, found one of width 16"):
        sound_for(Inputs(states=384), wave, 25, encoder)
    with pytest.raises(BadInput, match="of width 384, found none"):
        sound_for(Inputs(states=384), wave, 25, None)
    assert sound_for(Inputs(), wave, 25, None).shape == (80, 81)


def test_residual_generator_starts_from_the_reference():
    generator = Wav2Lip(width=0.05, residual=True).eval()
    assert list(generator.state_dict()) == list(Wav2Lip(width=0.05).state_dict())
    faces = torch.rand(2, 6, 96, 96) * 0.9 + 0.05
    with torch.inference_mode():
        torch.testing.assert_close(generator(torch.randn(2, 1, 80, 16), faces), faces[:, 3:])


def test_embeddings_of_a_clip_are_those_of_its_windows():
    torch.manual_seed(0)
    expert = SyncExpert2D(width=0.05).eval()
    faces = (uniform("clip", (9, 96, 96, 3)) * 255).astype(np.uint8)
    seen = face_embeddings(expert, faces, batch=2)
    assert len(seen) == 5
    for start, embedding in enumerate(seen):
        moving = (faces[start : start + 5] - faces.mean(axis=0)).astype(np.float32) / 255
        stacked = [frame[48:].transpose(2, 0, 1) for frame in moving]
        with torch.inference_mode():
            expected = expert.encode_face(torch.from_numpy(np.concatenate(stacked))[None])[0]
        np.testing.assert_allclose(embedding, expected.numpy(), atol=1e-5)


def test_generator_survives_saving(tmp_path):
    torch.manual_seed(0)
    generator = Wav2Lip(width=0.05, residual=True).eval()
    save_generator(tmp_path, generator, width=0.05, audio_width=0.05, inputs=Inputs(True, 2))
    again, inputs = load_generator(tmp_path)
    assert inputs == Inputs(bgr=True, lead=2)
    assert again.residual
    assert not any(p.requires_grad for p in again.parameters())
    still, mel = np.zeros((96, 96, 3), np.uint8), np.zeros((80, 20), np.float32)
    np.testing.assert_array_equal(one_shot(again, still, mel, 2, inputs), one_shot(generator, still, mel, 2, inputs))
    with pytest.raises(BadInput, match="dvc repro teacher"):
        load_generator(tmp_path / "nowhere")
