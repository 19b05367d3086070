"""VOCA's layers against loops in TensorFlow's order of axes; windows; padding; streams."""

import numpy as np
import pytest
import torch

from learn2talk_core.checkpoints.voca import export_arrays
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.students.student import save_student
from learn2talk_core.models.students.voca.network import VOCA, speech_windows
from learn2talk_core.run.errors import BadInput
from tests.golden.fill import normal, waveform
from tests.training.test_student import encoder


def small(styles: int = 3, vertices: int = 5) -> VOCA:
    torch.manual_seed(2)
    model = VOCA(vertices, styles, feature_width=16, speech_encoder=encoder())
    torch.nn.init.normal_(model.batch_norm.running_mean, std=0.1)
    torch.nn.init.uniform_(model.batch_norm.running_var, 0.5, 2.0)
    torch.nn.init.uniform_(model.batch_norm.weight, 0.5, 2.0)
    torch.nn.init.normal_(model.batch_norm.bias, std=0.1)
    return model.eval()


def naive_frame(weights: dict[str, np.ndarray], window: np.ndarray, style: np.ndarray) -> np.ndarray:
    """One window (16, F) → displacements (3V,) by loops. `weights`: VOCA's names without scopes, TensorFlow's order."""
    norm = {key: float(weights[f"batch_norm/{key}"][0]) for key in ("gamma", "beta", "moving_mean", "moving_variance")}
    x = (window - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-5) * norm["gamma"] + norm["beta"]
    x = np.concatenate([x, np.tile(style, (16, 1))], axis=1)
    for layer in range(1, 5):
        kernel, bias = weights[f"conv{layer}/weights"][:, 0], weights[f"conv{layer}/biases"]  # (3, in, out)
        steps = len(x) // 2
        pad = max((steps - 1) * 2 + 3 - len(x), 0)  # TensorFlow's SAME
        padded = np.concatenate([np.zeros((pad // 2, x.shape[1])), x, np.zeros((pad - pad // 2, x.shape[1]))])
        out = np.zeros((steps, len(bias)))
        for t in range(steps):
            for k in range(3):
                out[t] += padded[2 * t + k] @ kernel[k]
        x = np.maximum(out + bias, 0)
    code = np.concatenate([x.ravel(), style])
    code = np.tanh(code @ weights["fc1/weights"] + weights["fc1/biases"])
    code = code @ weights["fc2/weights"] + weights["fc2/biases"]
    return code @ weights["expression_offset/weights"] + weights["expression_offset/biases"]


def test_one_window_equals_the_loops() -> None:
    model = small()
    weights = {"/".join(name.split("/")[2:]): value for name, value in export_arrays(model).items()}
    weights |= {f"expression_offset/{k.split('/')[-1]}": v for k, v in weights.items() if k in ("weights", "biases")}
    windows, style = normal("windows", (4, 16, 16)), np.array([0.0, 0.25, 0.75], np.float32)
    states = model.states(torch.from_numpy(windows), torch.from_numpy(style).expand(4, -1))
    found = model.displacement(states[None])[0].flatten(1).detach()
    expected = [naive_frame(weights, window.astype(np.float64), style) for window in windows]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_size_is_that_of_voca() -> None:
    """VOCA: 29 logits, 8 styles, 5023 vertices."""
    model = VOCA(5023, 8, feature_width=29)
    shapes = {tuple(p.shape) for p in model.parameters()}
    assert {(32, 37, 3), (32, 32, 3), (64, 32, 3), (64, 64, 3), (128, 72), (50, 128), (15069, 50)} <= shapes
    assert sum(p.numel() for p in model.parameters()) == 809_563


def test_windows_equal_those_of_voca_at_60_frames_per_second() -> None:
    """Eight zero frames are put before and after the clip, and window t is the 16 frames from t on."""
    features = torch.from_numpy(normal("features", (20, 3)))
    padded = torch.cat([torch.zeros(8, 3), features, torch.zeros(8, 3)])
    expected = torch.stack([padded[t : t + 16] for t in range(20)])
    torch.testing.assert_close(speech_windows(features, 60.0), expected, atol=0, rtol=0)
    half = speech_windows(features, 30.0)  # steps of half a frame
    torch.testing.assert_close(half[5][8:12:2], features[5:7])
    torch.testing.assert_close(half[5][9], (features[5] + features[6]) / 2)
    assert not half[0][:8].any()


@torch.no_grad()
def test_a_padded_batch_equals_single_clips() -> None:
    model = small()
    clips = [torch.from_numpy(normal(f"clip {n}", (n, 16, 16))) for n in (7, 3)]
    styles = torch.eye(3)[[0, 2]]
    both = model.states_of_clips(clips, styles)
    for row, clip in enumerate(clips):
        alone = model.states_of_clips([clip], styles[row : row + 1])[0]
        torch.testing.assert_close(both[row, : len(clip)], alone, atol=1e-6, rtol=1e-6)
    assert not both[1, 3:].any()


def test_our_folder_and_a_stream(tmp_path) -> None:
    model = small()
    save_student(tmp_path / "voca", model, fps=30, speakers=("A", "B", "C"), recipe="toy")
    again, speakers = load_student(tmp_path / "voca", made_by="the test")
    assert (again.network, speakers) == ("voca", ("A", "B", "C"))
    wave, style = waveform(1.0), torch.tensor([0.0, 1.0, 0.0])
    states = model.predict_states(wave, 30, style[None], 30)
    assert states.shape == (1, 30, 50)
    torch.testing.assert_close(again.predict_states(wave, 30, style[None], 30), states, atol=0, rtol=0)
    # one piece with all of its context is the whole clip
    stream = again.open_stream(style, 30.0, 100)
    torch.testing.assert_close(stream.extend(wave, len(wave), 0, 20, 30), states[0, :20], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stream.extend(wave, 0, 20, 10, 30), states[0, 20:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_published_weights_need_deepspeech() -> None:
    model = VOCA(5, 8, feature_width=29).eval()
    logits, style = torch.from_numpy(normal("logits", (60, 29))), torch.eye(8)[3]
    assert model.predict_from_logits(logits, style).shape == (60, 50)
    for use in (
        lambda: model.predict_states(waveform(1.0), 60, style[None], 60),
        lambda: model.open_stream(style, 60, 9),
    ):
        with pytest.raises(BadInput, match=r"expected the logits of DeepSpeech 0\.1\.0.*found sound"):
            use()
