import io
import zlib
from collections.abc import Iterator

import av
import numpy as np
import pytest

from learn2talk_core.audio.opus import decode_opus, encode_opus
from learn2talk_core.run.errors import BadInput


def tone(samples: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(samples) / 16_000)).astype(np.float32)


@pytest.mark.parametrize("samples", [1600, 16_000, 48_321])
def test_length_time_and_level_stay_the_same(samples: int) -> None:
    wave = tone(samples)
    file = encode_opus(wave)
    heard = decode_opus(file, samples, "x", fix="again")
    assert heard.shape == wave.shape
    middle = slice(samples // 4, samples // 4 * 3)
    assert np.abs(heard - wave)[middle].max() < 0.02  # half a sample of delay would be 0.035
    assert len(file) * 8 / (samples / 16_000) < 45_000 or samples < 16_000


def test_the_same_wave_gives_the_same_bytes() -> None:
    assert encode_opus(tone(16_000)) == encode_opus(tone(16_000))


def test_another_decoder_hears_the_same() -> None:
    wave = tone(16_000)
    with av.open(io.BytesIO(encode_opus(wave))) as container:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    assert len(heard) == 48_000  # ffmpeg decodes at 48 kHz
    assert np.abs(heard[::3] - wave)[4000:12_000].max() < 0.02


def broken(file: bytes) -> Iterator[bytes]:
    yield file[: len(file) // 2]
    yield b""
    yield zlib.compress(file)
    yield file[: len(file) // 2] + b"\0\1\2\3" + file[len(file) // 2 + 4 :]  # the page's checksum is wrong


@pytest.mark.parametrize("number", range(4))
def test_a_damaged_file(number: int) -> None:
    damaged = list(broken(encode_opus(tone(16_000))))[number]
    with pytest.raises(BadInput, match=r"^clip 3: expected 16000 samples of Opus at 16000 Hz, found .*\. Again\.$"):
        decode_opus(damaged, 16_000, "clip 3", fix="Again.")


def test_another_length() -> None:
    with pytest.raises(BadInput, match=r"expected 15000 samples of Opus at 16000 Hz, found \(16000,\) at 16000 Hz"):
        decode_opus(encode_opus(tone(16_000)), 15_000, "x", fix="again")
