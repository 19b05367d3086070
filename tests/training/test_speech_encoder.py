"""Training of the speech encoder on sounds whose phonemes differ in pitch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from learn2talk_core.corpus.phonemes import Phoneme, frame_labels
from learn2talk_core.models.speech_encoders.wav2vec2 import Wav2Vec2SpeechEncoder
from learn2talk_core.run.seed import generator, seed_torch
from learn2talk_core.training.loop import update
from learn2talk_core.training.speech_encoder import (
    CLASSES,
    TOKENS,
    PhonemeRecogniser,
    SpokenText,
    blind_scores,
    labels_at,
    random_speech_batch,
    recognition_loss,
    recognition_scores,
)

PITCH = {"AA": 300.0, "M": 900.0, "S": 2700.0}


def beeps(seed: int, count: int = 8) -> SpokenText:
    """`count` phonemes of 0.15 to 0.25 s, each with its own tone, with silence before and after."""
    rng = generator(seed, "beeps")
    wave, phonemes, time = [np.zeros(3200)], [], 0.2
    for name in rng.choice(list(PITCH), count):
        length = int(rng.integers(2400, 4000))
        wave.append(0.3 * np.sin(2 * np.pi * PITCH[name] * np.arange(length) / 16000))
        if phonemes and phonemes[-1].name == name:
            phonemes[-1] = Phoneme(phonemes[-1].start, time + length / 16000, str(name))
        else:
            phonemes.append(Phoneme(time, time + length / 16000, str(name)))
        time += length / 16000
    return SpokenText(np.concatenate([*wave, np.zeros(3200)]).astype(np.float32), tuple(phonemes))


def tiny() -> PhonemeRecogniser:
    seed_torch(0, "weights")
    return PhonemeRecogniser(
        Wav2Vec2SpeechEncoder.from_numbers(
            conv_dim=(32,) * 7, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2,
            num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, do_stable_layer_norm=True, layerdrop=0.0,
            hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
        )
    )  # fmt: skip


def test_labels_are_the_corpus_labels_half_a_frame_earlier() -> None:
    clip = beeps(0)
    expected = frame_labels(clip.phonemes, 40, 30)
    np.testing.assert_array_equal(labels_at(clip.phonemes, (np.arange(40) + 0.5) / 30), expected)


def test_a_window_and_its_labels_stay_together() -> None:
    """The pitch of each labelled frame, measured by zero crossings, must be that of the label."""
    batch = random_speech_batch([beeps(i) for i in range(4)], generator(1), 16, 0.8, 50, noise=0.0)
    assert batch.waves.shape == (16, 12800)
    assert batch.labels.shape == (16, 40)
    names = {number: name for name, number in TOKENS.items()}
    checked = 0
    for wave, labels in zip(batch.waves.numpy(), batch.labels.numpy(), strict=True):
        for t in range(1, 39):
            if labels[t - 1] == labels[t] == labels[t + 1] != 0:
                part = wave[t * 320 : (t + 1) * 320]
                pitch = np.count_nonzero(np.diff(np.signbit(part))) * 16000 / 320 / 2
                assert abs(np.log(pitch / PITCH[names[labels[t]]])) < 0.3
                checked += 1
    assert checked > 100


def test_batches_repeat_and_short_clips_are_padded_with_silence() -> None:
    clips = [SpokenText(np.ones(4000, np.float32), (Phoneme(0.0, 0.25, "AA"),))]
    one, two = (random_speech_batch(clips, generator(3), 2, 1.0, 30) for _ in range(2))
    torch.testing.assert_close(one.waves, two.waves, atol=0, rtol=0)
    assert one.sentences == [[TOKENS["AA"]]] * 2
    assert (one.labels[:, 0] == TOKENS["AA"]).all()
    assert (one.labels[:, 10:] == 0).all()


def test_the_loss_is_ctc_plus_cross_entropy() -> None:
    model = tiny().eval()
    batch = random_speech_batch([beeps(0)], generator(0), 3, 1.0, 30)
    loss, row = recognition_loss(model, batch, 30, 0.7)
    ctc_logits, logits = model(batch.waves, 30, 30)
    parts = [
        F.ctc_loss(c.log_softmax(-1)[:, None], torch.tensor([s]), torch.tensor([30]), torch.tensor([len(s)]))
        for c, s in zip(ctc_logits, batch.sentences, strict=True)
    ]
    entropy = -logits.log_softmax(-1).gather(-1, batch.labels[..., None]).mean()
    torch.testing.assert_close(loss, torch.stack(parts).mean() + 0.7 * entropy)
    assert set(row) == {"loss", "ctc", "alignment", "frame_accuracy"}


def test_it_learns_to_tell_pitches() -> None:
    clips, held_out = [beeps(i) for i in range(12)], [beeps(i) for i in range(100, 104)]
    model = tiny().train()
    optimizer = torch.optim.AdamW(model.parameters())
    for index in range(100):
        loss, _ = recognition_loss(model, random_speech_batch(clips, generator(0, index), 6, 1.0, 30), 30, 1.0)
        update(loss, optimizer, learning_rate=3e-3)
    scores, blind = recognition_scores(model.eval(), held_out, 30), blind_scores(clips, held_out, 30)
    assert scores["frame_accuracy"] > 0.85 > blind["frame_accuracy"]
    assert scores["phoneme_error"] < 0.4 < blind["phoneme_error"]


def test_scores_without_audio() -> None:
    def said(*names: str) -> SpokenText:
        phonemes = tuple(Phoneme(0.5 * i, 0.5 * (i + 1), name) for i, name in enumerate(names))
        return SpokenText(np.zeros(16000 * 2, np.float32), phonemes)

    scores = blind_scores([said("AA", "AA", "AA", "M")], [said("AA", "M", "S"), said("M")], 10)
    assert scores["phoneme_error"] == pytest.approx((2 + 1) / 4)  # "AA" is right once; for M it is a substitution
    assert scores["frame_accuracy"] == pytest.approx(5 / 40)


def test_scores_are_of_whole_clips() -> None:
    """Against the same network applied by hand, clip by clip."""
    model, clips = tiny().eval(), [beeps(1), beeps(2, count=3)]
    right = total = 0
    for clip in clips:
        frames = int(len(clip.wave) / 16000 * 25)
        with torch.no_grad():
            _, logits = model(torch.from_numpy(clip.wave)[None], frames, 25)
        assert logits.shape == (1, frames, CLASSES)
        right += int((logits[0].argmax(-1).numpy() == labels_at(clip.phonemes, np.arange(frames) / 25)).sum())
        total += frames
    assert recognition_scores(model, clips, 25)["frame_accuracy"] == pytest.approx(right / total)
